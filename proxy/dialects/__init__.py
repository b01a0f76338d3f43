"""The wire formats. The tables are the map: a dialect is a folder and a line here.

Inbound (callers speak it): `parse, read_request, StreamWriter, write_body, write_error,
write_stream_error`. Outbound (we speak it): see openai/outbound.py. Parsers never touch sockets.
"""

from types import ModuleType

from proxy.dialects.openai import inbound as openai_inbound
from proxy.dialects.openai import outbound as openai_outbound

INBOUND: dict[str, ModuleType] = {"openai": openai_inbound}
OUTBOUND: dict[str, ModuleType] = {"openai": openai_outbound}
