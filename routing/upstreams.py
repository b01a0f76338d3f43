"""What of an owner's upstreams can be well or ill, as its configuration names it."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Prefetch

from routing.models import Credential, Model, Provider
from routing.subjects import Subject

GROUPS = {
    "provider": "Providers",
    "model": "Models",
    "credential": "Credentials",
    "account": "Accounts of credentials",
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """`row` is what the admin's log says of it: credentials are their provider's."""

    subject: Subject
    name: str
    row: Provider | Model

    @property
    def group(self) -> str:
        return GROUPS[self.subject[0]]


def upstreams_of(tenant: str) -> list[Upstream]:
    """All of a tenant's own, or of the gateway's (no name), in order."""
    owner = {"tenant__name": tenant} if tenant else {"tenant": None}
    pool = Credential.objects.defer("secret").order_by("id")
    providers = Provider.objects.filter(**owner).select_related("tenant")
    models = Model.objects.filter(**owner).select_related("tenant", "provider__tenant")
    found: list[Upstream] = []
    for provider in providers.prefetch_related(Prefetch("credentials", pool)).order_by("name"):
        found += _of_provider(tenant, provider)
    found += [
        Upstream(("model", tenant, model.name), f"{model.name} at {model.provider}", model)
        for model in models.order_by("name")
    ]
    return found


def _of_provider(tenant: str, provider: Provider) -> Iterator[Upstream]:
    name, pool = provider.name, list(provider.credentials.all())
    yield Upstream(("provider", tenant, name), name, provider)
    for credential in pool:
        subject = ("credential", tenant, name, credential.name)
        yield Upstream(subject, f"{credential.name} of {name}", provider)
    if not pool:
        yield Upstream(("credential", tenant, name, ""), f"none, of {name}", provider)
    for account in dict.fromkeys(one.account for one in pool if one.account):
        yield Upstream(("account", tenant, name, account), f"{account} of {name}", provider)
