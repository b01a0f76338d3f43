"""What a request is charged for: its use, or what the policy for cut answers says. Pure."""

from collections.abc import Callable

from billing.pricing import Tokens


def charge_policy(*, outcome: str, ended_by: str, on_disconnect: str) -> str:
    """Why the charge is what it is: the use itself, or the policy for an answer that was cut. What
    a caller who hangs up pays is the tenant's `on_disconnect`."""
    if outcome == "failed":
        return "nothing"
    if outcome == "completed":
        return "usage"
    return on_disconnect if ended_by == "caller" else "delivered"


def charged_tokens(used: Tokens, policy: str, reserved: Callable[[], Tokens]) -> Tokens | None:
    """What is multiplied by the prices; None: nothing is charged. `reserved` gives the most that
    the request could have used."""
    match policy:
        case "nothing":
            return None
        case "input":
            return Tokens(used.input, used.cached_input, used.cache_write)
        case "reserved":
            return reserved()
    return used
