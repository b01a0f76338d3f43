"""The page of the health of upstreams, and its button."""

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from routing import sharing
from routing.models import Provider
from routing.sharing.alone import Alone
from routing.subjects import Subject
from routing.terms import Breaker
from tests.admin_pages import gateway_with_admin, logged_in
from tests.factories import (
    CredentialFactory,
    ModelFactory,
    ProviderFactory,
    TenantFactory,
)
from tests.fake_upstream import FakeUpstream, failing
from tests.gateway_process import GatewayProcess, eventually
from tests.proxy.terms import terms

PAGE = "/admin/health/"
AGAIN = "/admin/health/ask-again/"
BIG: Subject = ("model", "", "big")
TRIPS = Breaker(failures=1, window=30, cooldown=90)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Alone:
    """What runs in this process."""
    running = Alone()
    monkeypatch.setattr(sharing, "running", running)
    return running


@pytest.fixture
def provider() -> Provider:
    row = ProviderFactory.create(name="openai")
    ModelFactory.create(name="big", provider=row)
    CredentialFactory.create(provider=row, name="main", account="org-1", secret="sk-hidden")
    return row


def fail(worker: Alone, subject: Subject, reason: str = "timeout", *, ago: float = 0.0) -> None:
    now = time.time() - ago
    worker.circuits.of(subject, now).fail(now, TRIPS, reason)


def lines(client: Client, **query: str) -> dict[str, dict[str, Any]]:
    """The rows of a page, by their subjects."""
    groups = client.get(PAGE, query).context["groups"]
    return {line["subject"]: line for group in groups for line in group["lines"]}


def staff(client: Client, *permissions: str) -> Client:
    user = User.objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


@pytest.mark.django_db
class TestPage:
    def test_all_that_is_configured_is_listed_as_well(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        found = lines(admin_client)
        assert set(found) == {
            "provider//openai",
            "model//big",
            "credential//openai/main",
            "account//openai/org-1",
        }
        assert {line["state"] for line in found.values()} == {"closed"}
        content = admin_client.get(PAGE).content.decode()
        assert "All are asked." in content
        assert "Ask again now" not in content
        assert "sk-hidden" not in content

    def test_what_is_out_says_why_since_when_and_for_how_long(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, BIG, "server_error", ago=30.0)
        line = lines(admin_client)["model//big"]
        assert (line["state"], line["reason"]) == ("open", "server errors")
        assert abs(line["since"].timestamp() - (time.time() - 30)) < 5
        assert 55 <= int(line["left"].removesuffix(" s")) <= 60
        assert line["asked_at"] is None
        assert "1 is taken out." in admin_client.get(PAGE).content.decode()

    def test_a_cool_down_that_is_over_is_half_open_until_a_probe_is_answered(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, BIG, ago=100.0)
        line = lines(admin_client)["model//big"]
        assert (line["state_in_words"], line["left"]) == ("half-open", "")
        worker.circuits[BIG].close(time.time(), on_trial=True)
        line = lines(admin_client)["model//big"]
        assert (line["state"], line["is_tried"]) == ("closed", True)

    def test_a_provider_says_when_its_list_was_asked_for(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        now = time.time()
        worker.circuits.of(("list", "", "openai"), now).asked(now)
        line = lines(admin_client)["provider//openai"]
        assert abs(line["asked_at"].timestamp() - now) < 1
        assert (line["state"], line["since"]) == ("closed", None)

    def test_what_is_out_comes_first(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        for name in ("alpha", "omega"):
            ModelFactory.create(name=name, provider=provider)
        fail(worker, ("model", "", "omega"))
        models = [name for name in lines(admin_client) if name.startswith("model")]
        assert models == ["model//omega", "model//alpha", "model//big"]

    def test_a_tenants_own_are_shown_apart(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        own = ProviderFactory.create(name="own", tenant=TenantFactory.create())
        ModelFactory.create(name="big", tenant=own.tenant, provider=own)
        fail(worker, ("model", "acme", "big"))
        assert lines(admin_client)["model//big"]["state"] == "closed"
        found = lines(admin_client, tenant="acme")
        assert found["model/acme/big"]["state"] == "open"
        assert set(found) == {"provider/acme/own", "model/acme/big", "credential/acme/own/"}

    def test_an_unknown_tenant_is_said_to_be_so(self, admin_client: Client, worker: Alone) -> None:
        content = admin_client.get(PAGE, {"tenant": "<x>"}).content.decode()
        assert "There is no tenant <b>&lt;x&gt;</b>" in content

    def test_without_a_worker_it_says_that_nothing_is_known(
        self, admin_client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sharing, "running", None)
        assert "No worker of the gateway runs" in admin_client.get(PAGE).content.decode()
        again = admin_client.post(AGAIN, {"subject": "model//big"})
        assert again.status_code == 302
        assert not LogEntry.objects.exists()

    def test_the_index_leads_to_it(self, admin_client: Client) -> None:
        assert f'href="{PAGE}"' in admin_client.get(reverse("admin:index")).content.decode()


@pytest.mark.django_db
class TestAskingAgain:
    def test_it_closes_and_is_written_down_with_who_did(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, BIG)
        response = admin_client.post(AGAIN, {"subject": "model//big"})
        assert response["Location"] == f"{PAGE}#model-none-big"
        assert lines(admin_client)["model//big"]["state"] == "closed"
        logged = LogEntry.objects.get()
        assert logged.change_message == "Asked again: the model big at openai."
        assert (logged.user.get_username(), logged.content_type.model) == ("admin", "model")

    def test_a_credentials_is_written_down_with_its_provider(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, ("credential", "", "openai", "main"), "auth")
        admin_client.post(AGAIN, {"subject": "credential//openai/main"})
        assert LogEntry.objects.get().object_id == str(provider.pk)

    def test_what_is_asked_already_or_is_no_more_changes_nothing(
        self, admin_client: Client, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, ("model", "", "gone"))
        for subject, said in [("model//big", "asked already"), ("model//gone", "no more")]:
            response = admin_client.post(AGAIN, {"subject": subject}, follow=True)
            assert said in response.content.decode()
        assert worker.circuits["model", "", "gone"].until
        assert not LogEntry.objects.exists()


@pytest.mark.django_db
class TestPermissions:
    def test_who_is_not_logged_in_is_sent_to(self, client: Client, worker: Alone) -> None:
        for url in (PAGE, AGAIN):
            assert "login" in client.get(url)["Location"]
            assert "login" in client.post(url)["Location"]

    def test_staff_without_a_permission_sees_nothing(self, client: Client, worker: Alone) -> None:
        staff(client, "change_provider")
        assert client.get(PAGE).status_code == 403
        assert PAGE not in client.get(reverse("admin:index")).content.decode()

    def test_who_may_look_may_not_press(
        self, client: Client, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, BIG)
        staff(client, "view_provider")
        assert "Ask again now" not in client.get(PAGE).content.decode()
        assert client.post(AGAIN, {"subject": "model//big"}).status_code == 403
        assert worker.circuits[BIG].until

    def test_looking_presses_nothing(self, admin_client: Client, worker: Alone) -> None:
        assert admin_client.get(AGAIN).status_code == 405

    def test_a_form_without_a_token_of_the_page_is_refused(
        self, admin_user: User, worker: Alone, provider: Provider
    ) -> None:
        fail(worker, BIG)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(admin_user)
        assert strict.post(AGAIN, {"subject": "model//big"}).status_code == 403
        assert worker.circuits[BIG].until


# ---- two gateways of one installation


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def pair(
    upstream: FakeUpstream, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    document = terms(upstream, {"acme": {}})
    document["providers"]["first"]["breaker"] = {"failures": 1, "cooldown": "5m"}
    folder = tmp_path_factory.mktemp("health")
    with (
        gateway_with_admin(folder, configuration=document, REDIS_URL=redis_url) as one,
        one.another() as other,
    ):
        yield one, other


def state_on(browser: httpx.Client, anchor: str) -> str:
    row = re.findall(rf'<tr id="{anchor}">.*?</tr>', browser.get(PAGE).text, re.DOTALL)[0]
    return html.unescape(re.findall(r'class="kind \w+">([^<]+)<', row)[0])


def test_one_workers_page_shows_what_the_other_met_and_its_button_helps_both(
    pair: tuple[GatewayProcess, GatewayProcess], upstream: FakeUpstream
) -> None:
    upstream.at("first").answers(failing(500))
    key = pair[0].issue_key("acme")

    def ask(gateway: GatewayProcess) -> int:
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
        url = f"{gateway.url}/chat/pro"
        answer = httpx.post(url, json=body, headers=key.headers, trust_env=False, timeout=30)
        return answer.status_code

    assert ask(pair[0]) == 502
    with logged_in(pair[1]) as admin:
        eventually(lambda: state_on(admin, "model-none-first-model") == "open" or None, within=1.0)
        assert [ask(gateway) for gateway in pair] == [503, 503]
        admin.get(PAGE)
        token = admin.cookies["csrftoken"]
        form = {"subject": "model//first-model", "csrfmiddlewaretoken": token}
        assert admin.post(AGAIN, data=form).status_code == 302
        assert state_on(admin, "model-none-first-model") == "closed"
    eventually(lambda: ask(pair[0]) == 200 or None, within=1.0, what="an answer by the other")
    logged = pair[0].clerk.rows("admin.LogEntry")
    assert [row["change_message"] for row in logged] == [
        "Asked again: the model first-model at first."
    ]
