"""The table on real sockets: one gateway, a provider for each run, and what was seen of it.

Each run has a provider, a model and an alias of its own, so what it takes out is nobody else's
trouble; its breaker opens at the first failure, so that one failure shows what it counts against.
"""

import itertools
import json
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.gateway_process import GatewayProcess, Row
from tests.proxy.configuration import FIRST_COST, UNHURRIED, Document, alias, books, provider
from tests.proxy.conftest import calling
from tests.proxy.faults.fault import KINDS, Fault, Mode
from tests.proxy.faults.places import Places, places
from tests.proxy.faults.scripts import Turn, Variant, answering
from tests.proxy.faults.speech import OPENAI
from tests.proxy.faults.table import GROUPS

Fallback = Literal["none", "usual", "named"]

CALLERS = ("openai", "anthropic")
AT_ONCE = 8
MANY = 2
"""A fault with more variants than that takes the fallbacks in turn, one a variant."""
FIRST_FAILURE = {"failures": 1, "window": "60s", "cooldown": "10m"}


@dataclass(frozen=True, slots=True)
class Run:
    """One request: who asks for what, with which fallback, and how the provider fails."""

    number: int
    fault: Fault
    variant: Variant
    mode: Mode
    caller: str
    fallback: Fallback

    @property
    def name(self) -> str:
        return f"run-{self.number}"

    @property
    def streaming(self) -> bool:
        return self.mode == "streamed"

    def __str__(self) -> str:
        return (
            f"{self.variant.name}: {self.mode}, {self.caller} asks {self.variant.dialect}, "
            f"fallback {self.fallback}"
        )


def _fallbacks(fault: Fault) -> tuple[Fallback, ...]:
    if fault.in_one_run:
        return ("none",)
    named = fault.kind and KINDS[fault.kind].falls_back != "always"
    return ("none", "usual", "named") if named else ("none", "usual")


def runs() -> list[Run]:
    """All of the table."""
    found: list[Run] = []
    for fault in (fault for faults in GROUPS.values() for fault in faults):
        callers = CALLERS[:1] if fault.in_one_run else CALLERS
        for turn, variant in enumerate(fault.variants):
            fallbacks = _fallbacks(fault)
            if len(fault.variants) > MANY:
                fallbacks = (fallbacks[turn % len(fallbacks)],)
            for mode, caller, fallback in itertools.product(fault.modes, callers, fallbacks):
                found.append(Run(len(found), fault, variant, mode, caller, fallback))
    return found


@dataclass(frozen=True, slots=True)
class Attempt:
    role: str
    kind: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a run. `code` is `its own` where the caller got the provider's own error.
    `ending` is how the answer ended: as a whole one, with the end mark of a stream, with an error,
    or with nothing of these. `breaks` is what the breaker took out."""

    status: int
    code: str
    ending: Literal["whole", "end mark", "error", "nothing"]
    message: str
    retry_after: int | None
    attempts: tuple[Attempt, ...]
    answered_by: str
    outcome: str
    record_status: int
    ended_by: str
    error_code: str
    policy: str
    source: str
    output_tokens: int
    charge: int
    breaks: str
    secret_told: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def _secret(run: Run) -> str:
    return f"sk-never-to-be-seen-{run.number}-x"


def _provider(run: Run, at: Places) -> Document:
    return provider(
        at.url(run.fault.place, run.name),
        dialect=run.variant.dialect,
        credentials=[{"name": "main", "secret": _secret(run)}],
        timeouts={**UNHURRIED, **run.fault.timeouts},
        breaker=FIRST_FAILURE,
    )


def _alias(run: Run) -> Document:
    if run.fallback == "none":
        return alias(run.name)
    named = {"fallback_on": [run.fault.kind]} if _may_be_named(run) else {}
    return alias(run.name, "well", **named)


def _may_be_named(run: Run) -> bool:
    """Some kinds cannot be: there, all that can be are."""
    return run.fallback == "named" and KINDS[run.fault.kind].falls_back == "if named"


def document(table: list[Run], at: Places) -> Document:
    names = ["well", *(run.name for run in table)]
    return {
        "version": 1,
        "providers": {
            "well": provider(at.well.url("well")),
            **{run.name: _provider(run, at) for run in table},
        },
        "models": {name: {"provider": name, "upstream": f"gpt-{name}"} for name in names},
        "price_books": books(**dict.fromkeys(names, FIRST_COST)),
        "aliases": {run.name: _alias(run) for run in table},
        "tenants": {"acme": {"price_book": "standard"}},
    }


def _request(run: Run) -> tuple[str, dict[str, Any]]:
    """A path and a body."""
    said = {"messages": [{"role": "user", "content": "Hello?"}], "stream": run.streaming}
    if run.caller == "openai":
        return f"/chat/{run.name}", said
    return "/v1/messages", {**said, "model": run.name, "max_tokens": 100}


def _ask(run: Run, at: Places, caller: httpx.Client) -> _Answer:
    seen = threading.Event()
    at.failing.at(run.name).always_answers(run.variant.play(Turn(run.streaming, seen)))
    path, body = _request(run)
    pieces = []
    with caller.stream("POST", path, json=body) as answer:
        for piece in answer.iter_raw():
            pieces.append(piece)
            seen.set()
    return _Answer(answer.status_code, answer.headers, b"".join(pieces))


def _ending(
    run: Run, answer: _Answer
) -> tuple[Literal["whole", "end mark", "error", "nothing"], Any]:
    """How an answer ended, and the error that it ended with."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        said = json.loads(answer.body)
        return ("error", said["error"]) if said.get("error") else ("whole", None)
    last = answer.body.rstrip(b"\n").rpartition(b"data: ")[2]
    if last == b"[DONE]" or b'"type":"message_stop"' in last.replace(b" ", b""):
        return "end mark", None
    error = json.loads(last).get("error")
    return ("error", error) if error else ("nothing", None)


_OPENED = re.compile(r'gateway_opened_total\{kind="(\w+)",reason="\w+",subject="([^"/]+)[^"]*"\}')


def _opened(gateway: GatewayProcess) -> dict[str, str]:
    """The kinds of what was taken out, by run. Counted, because some of it is soon back."""
    found: dict[str, str] = {}
    metrics = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    for kind, name in _OPENED.findall(metrics):
        found[name] = f"{found.get(name, '')} {kind}".strip()
    return found


def _seen(run: Run, answer: _Answer, record: Row, tries: list[Row], breaks: str) -> Seen:
    ending, error = _ending(run, answer)
    own = run.variant.says and answer.body.endswith(run.variant.says)
    wait = answer.headers.get("retry-after")
    rest = json.dumps([record, tries]).encode() + answer.body
    return Seen(
        status=answer.status,
        code="its own" if own else str((error or {}).get("code", "")),
        ending=ending,
        message=str((error or {}).get("message", "")),
        retry_after=int(wait) if wait else None,
        attempts=tuple(Attempt(row["role"], row["error_kind"], row["status"]) for row in tries),
        answered_by=record["provider"],
        outcome=record["outcome"],
        record_status=record["status"],
        ended_by=record["ended_by"],
        error_code=record["error_code"],
        policy=record["charge_policy"],
        source=record["usage_source"],
        output_tokens=record["output_tokens"],
        charge=record["charge"],
        breaks=breaks,
        secret_told=_secret(run).encode() in rest,
    )


def run_all(table: list[Run], folder: Path) -> list[tuple[Run, Seen]]:
    """Every run of the table against one gateway, some at a time."""
    with places(folder) as at:
        at.well.at("well").always_answers(_well)
        with GatewayProcess(folder, configuration=document(table, at)) as gateway:
            key = gateway.issue_key("acme")
            with calling(gateway, key) as caller, ThreadPoolExecutor(AT_ONCE) as threads:
                answers = list(threads.map(lambda run: _ask(run, at, caller), table))
            records = {row["alias"]: row for row in gateway.wait_for_records(len(table))}
            attempts: dict[str, list[Row]] = {}
            for row in sorted(
                gateway.clerk.rows("billing.Attempt"), key=lambda row: row["ordinal"]
            ):
                attempts.setdefault(row["record_id"], []).append(row)
            opened = _opened(gateway)
    for upstream in (at.failing, at.well):
        upstream.reset()  # a script that went wrong is told
    found = []
    for run, answer in zip(table, answers, strict=True):
        record = records[run.name]
        tries = attempts[record["record_id"]]
        found.append((run, _seen(run, answer, record, tries, opened.get(run.name, ""))))
    return found


def _well(wire: Any) -> None:
    """The provider that always answers."""
    streaming = bool(wire.request.json().get("stream"))
    answering(OPENAI)(Turn(streaming, threading.Event()))(wire)
