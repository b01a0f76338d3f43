"""What the table says of a run, held against what was seen of it."""

from tests.proxy.faults.fault import ANY, BLAMES_REQUEST, KINDS
from tests.proxy.faults.running import Attempt, Run, Seen


def _falls_back(run: Run) -> bool:
    if run.fault.after_content or run.fallback == "none":
        return False
    when = KINDS[run.fault.kind].falls_back
    return when == "always" or (when == "if named" and run.fallback == "named")


def _code(run: Run) -> str:
    """The caller's: the provider's own words where both speak one dialect, and the request is at
    fault or a stream has begun."""
    own = run.variant.says and run.variant.dialect == run.caller
    if own and (run.fault.after_content or run.fault.kind in BLAMES_REQUEST):
        return "its own"
    return KINDS[run.fault.kind].code


def _differences(seen: Seen, **expected: object) -> list[str]:
    return [
        f"{name}: {value!r} is {getattr(seen, name)!r}"
        for name, value in expected.items()
        if getattr(seen, name) != value
    ]


def _answered(run: Run, seen: Seen, by: str) -> list[str]:
    found = _differences(
        seen,
        status=200,
        code="",
        answered_by=by,
        outcome="completed",
        record_status=200,
        ended_by="upstream",
        error_code="",
        policy="usage",
        retry_after=None,
    )
    # What leaves out its end mark reaches a caller of the same dialect as it is.
    endings = ("end mark", "nothing") if run.streaming and not run.fault.kind else ("end mark",)
    if seen.ending not in (endings if run.streaming else ("whole",)):
        found.append(f"it ends with {seen.ending}")
    if not (seen.output_tokens > 0 and seen.charge > 0):
        found.append(f"{seen.output_tokens} output tokens, charged {seen.charge}")
    return found


def _broken_off(run: Run, seen: Seen) -> list[str]:
    """After content: an error event, and what was delivered is charged."""
    ended_by = "gateway" if run.fault.kind == "timeout" else "upstream"
    found = _differences(
        seen,
        status=200,
        code=_code(run),
        ending="error",
        answered_by=run.name,
        outcome="interrupted",
        record_status=200,
        ended_by=ended_by,
        error_code=KINDS[run.fault.kind].code,
        policy="delivered",
    )
    if not (seen.output_tokens > 1 and seen.charge > 0):
        found.append(f"{seen.output_tokens} output tokens, charged {seen.charge}")
    return found


def _failed(run: Run, seen: Seen) -> list[str]:
    """A caller of the provider's dialect gets a refusal in its own words, and so does one who is
    told that the target has failed."""
    kind = KINDS[run.fault.kind]
    ours = run.fault.kind == "timeout" and not run.fault.noted
    found = _differences(
        seen,
        status=kind.status,
        code=_code(run),
        ending="error",
        answered_by=run.name,
        outcome="failed",
        record_status=kind.status,
        ended_by="gateway" if ours else "upstream",
        error_code=kind.code,
        policy="nothing",
        charge=0,
    )
    wanted = run.fault.retry_after
    if wanted is None and seen.retry_after is not None:
        found.append(f"Retry-After is {seen.retry_after}")
    if wanted is not None and seen.retry_after not in wanted:
        found.append(f"Retry-After is {seen.retry_after}, not in {wanted}")
    return found


def _attempts(run: Run, seen: Seen) -> list[str]:
    """One at the failing target, and one at the fallback where it falls back."""
    first = Attempt("first", run.fault.kind, run.fault.noted if run.fault.kind else 200)
    expected = [first]
    if run.fault.kind and _falls_back(run):
        expected.append(Attempt("fallback", "", 200))
    given = list(seen.attempts)
    if run.fault.noted == ANY and given:
        given[0] = Attempt(given[0].role, given[0].kind, ANY)
    return [] if given == expected else [f"attempts: {expected} are {given}"]


def differences(run: Run, seen: Seen) -> list[str]:
    """All that is not as the table says."""
    fault = run.fault
    if not fault.kind:
        found = _answered(run, seen, run.name)
    elif _falls_back(run):
        found = _answered(run, seen, "well")
    elif fault.after_content:
        found = _broken_off(run, seen)
    else:
        found = _failed(run, seen)
    if fault.says and seen.ending == "error" and fault.says not in seen.message:
        found.append(f"{seen.message!r} does not say {fault.says!r}")
    breaks = KINDS[fault.kind].breaks if fault.kind else ""
    breaks = breaks if fault.breaks is None else fault.breaks
    if seen.breaks != breaks:
        found.append(f"breaker: {breaks!r} is {seen.breaks!r}")
    if seen.secret_told:
        found.append("the credential is told")
    return [*found, *_attempts(run, seen)]
