"""Webhooks of the gateway and of tenants, from the file and back."""

import yaml

from routing import config
from tenants.models import Webhook
from tests.routing.conftest import Apply, Refuse

FILE = """
gateway:
  webhooks:
    - {url: "https://ops.example/ai", events: [provider.down], secret: hidden-in-the-gateway}
    - {url: "mailto:ops@example.org", format: email, events: [provider.down]}
tenants:
  gateway:                               # a tenant may be called so
    webhooks:
      - {url: "https://ops.example/ai", events: [limit.sustained, usage.absorbed], secret: hidden}
"""


def _stored() -> set[tuple[str, str, str]]:
    return {
        (row.tenant.name if row.tenant else "", row.url, row.secret)
        for row in Webhook.objects.select_related("tenant")
    }


WHOLE = {
    ("", "https://ops.example/ai", "hidden-in-the-gateway"),
    ("", "mailto:ops@example.org", ""),
    ("gateway", "https://ops.example/ai", "hidden"),
}


def test_both_kinds_are_stored_and_come_back(apply: Apply) -> None:
    changes = apply(FILE).changes
    assert "+ gateway.webhooks[https://ops.example/ai]" in changes
    assert not [line for line in changes if "hidden" in line]
    assert _stored() == WHOLE
    exported = config.export()
    assert "hidden" not in exported
    webhooks = yaml.safe_load(exported)["gateway"]["webhooks"]
    assert [webhook.get("secret") for webhook in webhooks] == [
        "stored:webhooks/https://ops.example/ai",
        None,
    ]
    assert apply(FILE).changes == []
    assert apply(exported, prune=True).changes == []
    assert _stored() == WHOLE


def test_a_gateway_section_is_matched_whole(apply: Apply) -> None:
    apply(FILE)
    apply("version: 1")
    assert _stored() == WHOLE
    assert apply("gateway: {max_request_bytes: 1MB}").changes == [
        "- gateway.webhooks[https://ops.example/ai]",
        "- gateway.webhooks[mailto:ops@example.org]",
        "~ gateway.max_request_bytes: 20MB -> 1MB",
    ]
    assert _stored() == {("gateway", "https://ops.example/ai", "hidden")}


def test_another_secret_is_a_change_that_shows_none(apply: Apply) -> None:
    apply(FILE)
    changed = FILE.replace("hidden-in-the-gateway", "another")
    assert apply(changed).changes == ["~ gateway.webhooks[https://ops.example/ai].secret"]
    assert ("", "https://ops.example/ai", "another") in _stored()


def test_mistakes_are_named_by_their_path(refuse: Refuse) -> None:
    text = "gateway: {webhooks: [{url: 'mailto:x', format: email, events: [key.expired]}]}"
    assert refuse(text) == [
        "gateway.webhooks[0].url: must be one address, like mailto:finance@acme.example",
        "gateway.webhooks[0].events[0]: must be 'budget.threshold', 'budget.exhausted', "
        "'limit.sustained', 'key.expiring', 'provider.down' or 'usage.absorbed'; "
        "did you mean 'key.expiring'?",
    ]


def test_all_of_it_is_in_force(apply: Apply) -> None:
    apply(FILE)
    assert config.not_in_force() == []
