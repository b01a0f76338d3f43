"""An event as its recipients read it. Pure: no clock, no database, no sockets.

The standard form follows https://www.standardwebhooks.com; Slack's is that of its incoming
webhooks, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
"""

from typing import Any

import orjson

from tenants.events import Event, moment

_HEADLINES = {
    "budget.threshold": "{tenant} has used {threshold} of the budget {budget}: "
    "{used} of {amount} {unit} (period: {period})",
    "budget.exhausted": "{tenant} has used up the budget {budget}: "
    "{used} of {amount} {unit} (period: {period})",
    "limit.sustained": "{tenant} keeps meeting the limit {limit} of {scope}: "
    "{refused} requests refused",
    "key.expiring": "The key {key} ({key_id}) of {tenant} expires at {expires_at}",
    "provider.down": "The provider {provider} is down since {since}: {reason}",
    "usage.absorbed": "The provider {provider} reported more for {model} than was reserved: "
    "{amount} {unit} absorbed",
    "webhook.test": "A test from the gateway: alerts of {tenant} arrive here",
}

_LONGEST_SLACK_FIELD = 1900
_MOST_SLACK_FIELDS = 10


class _Known(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "?"


def headline(event: Event) -> str:
    """One line for people."""
    known = _Known(event.data, tenant=event.tenant or "the gateway")
    return " ".join(_HEADLINES.get(event.name, event.name).format_map(known).split())


def standard(event: Event) -> str:
    """The JSON of a Standard Webhook: `type`, `timestamp`, and `data`, which names the tenant."""
    payload = {
        "type": event.name,
        "timestamp": moment(event.happened_at),
        "data": {"tenant": event.tenant, **event.data},
    }
    return orjson.dumps(payload).decode()


def slack(event: Event) -> str:
    """The JSON of a Slack message: `text` for notifications, `blocks` for the channel."""
    said = _for_slack(headline(event))
    facts = [f"*{name}*\n{_for_slack(value)}" for name, value in _facts(event)]
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"*{event.name}*\n{said}"}}
    ]
    if facts:
        fields = [{"type": "mrkdwn", "text": fact} for fact in facts[:_MOST_SLACK_FIELDS]]
        blocks.append({"type": "section", "fields": fields})
    return orjson.dumps({"text": said, "blocks": blocks}).decode()


def email(event: Event) -> tuple[str, str]:
    """Subject and body of a mail in plain text."""
    said = headline(event)
    lines = [said, "", f"event: {event.name}", f"timestamp: {moment(event.happened_at)}"]
    if event.tenant:
        lines.append(f"tenant: {event.tenant}")
    lines += [f"{name}: {value}" for name, value in _facts(event)]
    return f"[gateway] {said}", "\n".join(lines) + "\n"


def _facts(event: Event) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in event.data.items() if value not in (None, "")]


def _for_slack(text: str) -> str:
    """Slack reads `<…>` as links and mentions, and `&` as the start of an escape."""
    cut = text[:_LONGEST_SLACK_FIELD]
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
