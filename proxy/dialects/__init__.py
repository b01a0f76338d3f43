"""The wire formats. The tables are the map: a dialect is a folder and a line here (faces.py)."""

from proxy.dialects.faces import Embedder, Inbound, Outbound, TokenCounter
from proxy.dialects.openai import inbound as openai_inbound
from proxy.dialects.openai import outbound as openai_outbound

INBOUND: dict[str, Inbound] = {"openai": openai_inbound}
OUTBOUND: dict[str, Outbound] = {"openai": openai_outbound}
EMBEDDERS: dict[str, Embedder] = {}
COUNTERS: dict[str, TokenCounter] = {}
