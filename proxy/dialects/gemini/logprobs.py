"""Log-probabilities (ai.google.dev/api/generate-content, "LogprobsResult"), from and to the shape
that they have in every dialect's `extras["logprobs"]`."""

from typing import Any

Object = dict[str, Any]


def _objects(value: Any) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _read(candidate: Object) -> Object:
    token = str(candidate.get("token") or "")
    return {
        "token": token,
        "logprob": candidate.get("logProbability", 0.0),
        "bytes": list(token.encode(errors="replace")),
    }


def read_logprobs(result: Any) -> Object | None:
    """One entry for each token that was chosen, with the likeliest beside it."""
    if not isinstance(result, dict):
        return None
    chosen, likeliest = (
        _objects(result.get("chosenCandidates")),
        _objects(result.get("topCandidates")),
    )
    content = []
    for place, candidate in enumerate(chosen):
        top = _objects(likeliest[place].get("candidates")) if place < len(likeliest) else []
        content.append({**_read(candidate), "top_logprobs": [_read(one) for one in top]})
    return {"content": content} if content else None


def _write(entry: Object) -> Object:
    return {"token": entry.get("token"), "logProbability": entry.get("logprob")}


def entries_of(logprobs: Any) -> list[Object]:
    """Entries of an `extras["logprobs"]`, whether of text or of a refusal."""
    if not isinstance(logprobs, dict):
        return []
    return [entry for entries in logprobs.values() for entry in _objects(entries)]


def write_logprobs(entries: list[Object]) -> Object:
    """The logprobsResult of a candidate."""
    tops = [
        {"candidates": [_write(one) for one in _objects(entry.get("top_logprobs"))]}
        for entry in entries
    ]
    return {"chosenCandidates": [_write(entry) for entry in entries], "topCandidates": tops}
