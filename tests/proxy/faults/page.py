"""The table as docs/faults.md holds it."""

from tests.proxy.faults.fault import BLAMES_REQUEST, KINDS, Fault
from tests.proxy.faults.running import runs
from tests.proxy.faults.table import GROUPS

_BEFORE = """\
# When providers fail

What becomes of a request when its provider fails in one of these ways. `tests/proxy/test_faults.py`
runs each against the gateway on real sockets, streamed and whole, for callers of chat completions
and of Anthropic's messages, with a fallback and without one: {runs} requests. This page is what
`python -m tests.proxy.faults` prints; to add a fault, add a row to `tests/proxy/faults/table.py`.

- **kind**: what the attempt is recorded as, and what `fallback_on` and `retry_on` name.
- **falls back**: whether an alias's next target answers instead: `always`, which is without a
  `fallback_on`; `if named`, which is where `fallback_on` names the kind; or `never`. Once content
  has been sent it is never.
- **the caller** of an alias with nobody left to ask.
- **breaker**: what the failure counts against
  ([how often, and for how long](admins.md#when-something-fails)).

A failure before content is recorded as `failed`, is charged nothing, and its attempt is there
beside the one that answered. A failure after content ends the stream with an error event of the
caller's dialect and without its end mark; the record says `interrupted`, and what was delivered is
charged (`charge_policy` is `delivered`). `ended_by` is `gateway` where the gateway waited no
longer, else `upstream`. A `Retry-After` of the provider's is passed on.
"""

_HEAD = """\
| fault | kind | falls back | the caller | breaker |
| --- | --- | --- | --- | --- |
"""


def _caller(fault: Fault) -> str:
    kind = KINDS[fault.kind]
    told = f"`{kind.code}`"
    if fault.says:
        told += f", which says {fault.says}"
    if fault.after_content:
        return f"an error event, {told}"
    if fault.kind in BLAMES_REQUEST:
        told += ", or the provider's own body in its dialect"
    return f"{kind.status} {told}" + (", `Retry-After`" if fault.retry_after else "")


def _row(fault: Fault) -> str:
    name = fault.name if len(fault.modes) > 1 else f"{fault.name} ({fault.modes[0]})"
    if not fault.kind:
        return f"| {name} | | | the answer | |\n"
    kind = KINDS[fault.kind]
    breaks = kind.breaks if fault.breaks is None else fault.breaks
    falls_back = "never" if fault.after_content else kind.falls_back
    cells = (name, f"`{fault.kind}`", falls_back, _caller(fault), breaks or "nothing")
    return f"| {' | '.join(cells)} |\n"


def written() -> str:
    """Markdown."""
    tables = [
        f"\n## {title}\n\n{_HEAD}{''.join(map(_row, faults))}" for title, faults in GROUPS.items()
    ]
    return _BEFORE.format(runs=f"{len(runs()):,}") + "".join(tables)
