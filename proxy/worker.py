"""What the requests of one process share."""

from dataclasses import dataclass

from proxy.admit import Admission
from proxy.authenticate import Authenticator
from proxy.store import Store
from proxy.upstream import Upstreams


@dataclass(slots=True)
class Worker:
    store: Store
    upstreams: Upstreams
    authenticator: Authenticator
    admission: Admission
