"""Versions of the configuration, in the admin."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.simulation import apart
from routing import config
from routing.models import ConfigurationVersion
from tenants.models import Revision, Tenant
from tests.admin_pages import list_of, new_page_of, page_of, problems_on, said, save, staff
from tests.billing.simulation.installation import FILE, add, install, of_acme, of_pro

pytestmark = pytest.mark.django_db

PAGES = ("diff", "simulate", "publish")
ACME = "tenants: {acme: {}}"


def url_of(version: ConfigurationVersion, name: str) -> str:
    return reverse(f"admin:routing_configurationversion_{name}", args=[version.pk])


def begin(client: Client, text: str, note: str = "") -> ConfigurationVersion:
    """A draft, as a browser begins it."""
    response = save(client, new_page_of(ConfigurationVersion), {"text": text, "note": note})
    assert problems_on(response) == ""
    return ConfigurationVersion.objects.filter(state="draft").latest("pk")


def publish(client: Client, version: ConfigurationVersion, **changes: str) -> Any:
    """Presses the button on the page that asks."""
    page = client.get(url_of(version, "publish")).context
    sent = {"in_force": page["in_force"], "reviewed": page["reviewed"]}
    return client.post(url_of(version, "publish"), sent | changes, follow=True)


# ---- drafts


def test_a_new_draft_begins_with_what_is_in_force(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    form = admin_client.get(new_page_of(ConfigurationVersion)).context["adminform"].form
    assert form["text"].value() == config.export()
    assert form["base"].value() == config.digest(config.export())


def test_a_draft_says_who_began_it_and_changes_nothing(admin_client: Client) -> None:
    before = Revision.objects.count()
    draft = begin(admin_client, ACME, "A note")
    assert (draft.state, draft.created_by, draft.note) == ("draft", "admin", "A note")
    assert not Tenant.objects.exists()
    assert Revision.objects.count() == before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tenants: {acme: {tear: x}}", "tenants.acme.tear: unknown key"),
        ("tenants: {acme: {tier: gold}}", "tenants.acme.tier: there is no tier 'gold'"),
        (
            'providers: {p: {dialect: openai, base_url: "https://p.example", '
            "credentials: [{name: main, secret: sk-secret}]}}",
            "providers.p.credentials[0].secret: a draft holds no secret itself",
        ),
        ("x" * 2_000_001, "at most 2000000 characters"),
    ],
)
def test_what_is_wrong_with_a_draft_is_said_by_its_path(
    admin_client: Client, text: str, problem: str
) -> None:
    response = save(admin_client, new_page_of(ConfigurationVersion), {"text": text})
    assert problem in problems_on(response)
    assert not ConfigurationVersion.objects.exists()


def test_a_draft_can_be_edited_until_it_is_published(admin_client: Client) -> None:
    draft = begin(admin_client, ACME)
    assert problems_on(save(admin_client, page_of(draft), {"note": "Better"})) == ""
    draft.refresh_from_db()
    assert draft.note == "Better"
    publish(admin_client, draft)
    response = admin_client.post(page_of(draft), {"note": "Other", "text": "tenants: {}"})
    assert response.status_code == 403
    draft.refresh_from_db()
    assert (draft.state, draft.text) == ("published", config.export())


def test_only_drafts_can_be_deleted(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    published, draft = ConfigurationVersion.objects.get(), begin(admin_client, "tenants: {}")
    for version in (published, draft):
        admin_client.post(f"{page_of(version)[:-7]}delete/", {"post": "yes"})
    sweep = {"action": "delete_selected", "_selected_action": [published.pk], "post": "yes"}
    admin_client.post(list_of(ConfigurationVersion), sweep)
    assert list(ConfigurationVersion.objects.all()) == [published]


# ---- comparisons


def test_a_draft_is_compared_with_what_is_in_force(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    draft = begin(admin_client, "# a remark\ntenants: {acme: {name: '<b>Acme</b>'}}")
    response = admin_client.get(url_of(draft, "diff"))
    lines = [(line.kind, line.text) for line in response.context["lines"]]
    assert ("new", "    name: <b>Acme</b>") in lines
    assert not any("remark" in text for _, text in lines)
    assert "<b>Acme</b>" not in response.content.decode()


def test_any_version_is_compared_with_any_other(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    config.apply("tenants: {globex: {}}", source="b.yaml")
    newer, older = ConfigurationVersion.objects.order_by("-pk")
    response = admin_client.get(url_of(newer, "diff"), {"against": older.pk})
    assert [line.text for line in response.context["lines"] if line.kind == "new"] == [
        "  globex: {}"
    ]
    assert "They say the same" in said(admin_client.get(url_of(newer, "diff")))


@pytest.mark.parametrize("number", ["0", "4711", "9" * 19, "9" * 5_000, "²", "-1", "x"])
def test_a_version_that_is_none_is_not_found(admin_client: Client, number: str) -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    pages = (f"{url_of(version, 'diff')}?against=", f"{new_page_of(ConfigurationVersion)}?from=")
    assert [admin_client.get(f"{page}{number}").status_code for page in pages] == [404, 404]


# ---- publishing


def test_publishing_asks_first_and_shows_what_changes(admin_client: Client) -> None:
    draft = begin(admin_client, ACME)
    response = admin_client.get(url_of(draft, "publish"))
    assert response.context["outcome"].changes == ["+ tenants.acme"]
    assert not Tenant.objects.exists()


def test_a_published_draft_is_in_force_heard_of_and_logged(admin_client: Client) -> None:
    config.apply("tenants: {leaving: {}}", source="a.yaml")
    before = Revision.objects.get(name="configuration").number
    draft = begin(admin_client, ACME)
    publish(admin_client, draft)
    assert list(Tenant.objects.values_list("name", flat=True)) == ["acme"]
    assert Revision.objects.get(name="configuration").number > before
    draft.refresh_from_db()
    assert (draft.state, draft.published_by) == ("published", "admin")
    assert LogEntry.objects.filter(change_message="Published.").count() == 1


def test_what_changed_meanwhile_must_be_confirmed(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    draft = begin(admin_client, "tenants: {acme: {name: Acme Corp}}")
    config.apply("tenants: {globex: {}}", source="b.yaml")
    assert "has changed since this draft was begun" in said(
        admin_client.get(url_of(draft, "publish"))
    )
    assert "Confirm it" in said(publish(admin_client, draft))
    assert Tenant.objects.filter(name="globex").exists()
    publish(admin_client, draft, confirmed="on")
    assert list(Tenant.objects.values_list("name", flat=True)) == ["acme"]


def test_what_changed_since_the_page_was_read_is_refused(admin_client: Client) -> None:
    draft = begin(admin_client, ACME)
    page = admin_client.get(url_of(draft, "publish")).context
    sent = {"in_force": page["in_force"], "reviewed": page["reviewed"], "confirmed": "on"}
    config.apply("tenants: {globex: {}}", source="b.yaml")
    response = admin_client.post(url_of(draft, "publish"), sent)
    assert "changed meanwhile" in said(response)
    assert list(Tenant.objects.values_list("name", flat=True)) == ["globex"]


def test_a_draft_that_was_edited_since_the_page_was_read_is_refused(admin_client: Client) -> None:
    draft = begin(admin_client, ACME)
    page = admin_client.get(url_of(draft, "publish")).context
    save(admin_client, page_of(draft), {"text": "tenants: {globex: {}}"})
    sent = {"in_force": page["in_force"], "reviewed": page["reviewed"]}
    assert "edited meanwhile" in said(admin_client.post(url_of(draft, "publish"), sent))
    assert not Tenant.objects.exists()


def test_a_draft_that_names_what_is_gone_says_so(admin_client: Client) -> None:
    config.apply("tiers: {gold: {}}", source="a.yaml")
    draft = ConfigurationVersion.objects.create(text="tenants: {acme: {tier: silver}}")
    for page in ("diff", "publish"):
        response = admin_client.get(url_of(draft, page), follow=True)
        assert "tenants.acme.tier: there is no tier 'silver'" in said(response)


def test_an_older_version_is_put_in_force_again(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    older = ConfigurationVersion.objects.get()
    publish(admin_client, begin(admin_client, "tenants: {globex: {}}"))
    publish(admin_client, older)
    assert list(Tenant.objects.values_list("name", flat=True)) == ["acme"]
    newest = ConfigurationVersion.objects.get(state="published")
    assert (newest.note, newest.published_by) == (f"Back to {older}", "admin")


def test_a_page_that_is_asked_for_publishes_nothing(admin_client: Client) -> None:
    draft = begin(admin_client, ACME)
    admin_client.get(url_of(draft, "publish"), {"in_force": draft.base, "confirmed": "on"})
    assert not Tenant.objects.exists()


def test_a_forged_form_publishes_nothing(admin_client: Client) -> None:
    draft = begin(admin_client, ACME)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin_client.cookies
    sent = {"in_force": draft.base, "reviewed": config.digest(draft.text)}
    for page in ("publish", "simulate"):
        assert strict.post(url_of(draft, page), sent).status_code == 403
    assert not Tenant.objects.exists()


# ---- who may


@pytest.mark.parametrize("page", PAGES)
def test_strangers_are_sent_to_the_login(page: str) -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    for method in ("get", "post"):
        response = getattr(Client(), method)(url_of(version, page))
        assert (response.status_code, "login" in response["location"]) == (302, True)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_without_permission_sees_nothing(page: str, method: str) -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    client = staff("view_tenant", "publish_configuration", "view_usagerecord")
    assert getattr(client, method)(url_of(version, page)).status_code == 403
    assert client.get(page_of(version)).status_code == 403
    assert client.get(list_of(ConfigurationVersion)).status_code == 403


def test_whoever_may_look_may_neither_publish_nor_see_money() -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    client = staff("view_configurationversion", "change_configurationversion")
    assert client.get(url_of(version, "diff")).status_code == 200
    for page in ("simulate", "publish"):
        assert client.get(url_of(version, page)).status_code == 403
        assert client.post(url_of(version, page), {"since": "7d"}).status_code == 403
    shown = said(client.get(page_of(version)))
    assert "Compare" in shown
    assert "/publish/" not in shown
    assert "/simulate/" not in shown
    assert not Tenant.objects.exists()


def test_versions_are_for_those_who_may_change_them() -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    looking = staff("view_configurationversion")
    for page in (list_of(ConfigurationVersion), page_of(version), url_of(version, "diff")):
        assert looking.get(page).status_code == 403
    for permission in ("add", "change"):
        client = staff("view_configurationversion", f"{permission}_configurationversion")
        assert client.get(page_of(version)).status_code == 200


def test_simulations_show_money_only_to_those_who_may_see_it() -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    allowed = ("view_configurationversion", "add_configurationversion", "view_usagerecord")
    assert staff(*allowed).get(url_of(version, "simulate")).status_code == 403
    assert staff(*allowed, "view_money").get(url_of(version, "simulate")).status_code == 200


def test_what_was_published_last_can_be_gone_back_to(admin_client: Client) -> None:
    config.apply(ACME, source="a.yaml")
    version = ConfigurationVersion.objects.get()
    Tenant.objects.update(name="changed-elsewhere")
    assert "/publish/" in said(admin_client.get(page_of(version)))
    assert "has changed on other pages" in said(admin_client.get(list_of(ConfigurationVersion)))
    publish(admin_client, version)
    assert config.export() == version.text
    assert "on other pages" not in said(admin_client.get(list_of(ConfigurationVersion)))


def test_whoever_may_only_add_does_not_read_the_configuration_that_way() -> None:
    client = staff("add_configurationversion")
    assert client.get(new_page_of(ConfigurationVersion)).status_code == 403


def test_a_publisher_may_publish() -> None:
    version = ConfigurationVersion.objects.create(text=ACME)
    client = staff("view_configurationversion", "publish_configuration")
    publish(client, version, confirmed="on")
    assert Tenant.objects.filter(name="acme").exists()


# ---- simulations


@pytest.mark.django_db(transaction=True)
def test_a_version_is_simulated_in_a_process_of_its_own(admin_client: Client) -> None:
    add(install(), 10)
    draft = begin(admin_client, of_pro("routes: [{targets: [{model: small}]}]"))
    response = admin_client.post(url_of(draft, "simulate"), {"since": "7d", "tenant": "acme"})
    found = response.context["found"]
    assert found["total"]["after"]["charge"] == "0.0054"
    assert "-0.0846 (-94 %)" in said(response)
    assert config.export() != draft.text


@pytest.mark.django_db(transaction=True)
def test_what_keeps_a_simulation_from_running_is_said(admin_client: Client) -> None:
    install()
    draft = begin(admin_client, of_acme("status: suspended"))
    response = admin_client.post(url_of(draft, "simulate"), {"since": "7d", "tenant": "nobody"})
    assert "there is no tenant 'nobody'" in said(response)
    assert admin_client.post(url_of(draft, "simulate"), {"since": "9y"}).context["found"] is None


def test_one_simulation_runs_at_a_time(admin_client: Client) -> None:
    draft = begin(admin_client, FILE)
    with apart._running:
        response = admin_client.post(url_of(draft, "simulate"), {"since": "7d"})
    assert "Another simulation is running" in said(response)
