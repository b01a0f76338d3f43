"""Providers, models and aliases, in the admin."""

from typing import Any

import pytest
from django.test import Client

from routing.models import Alias, Credential, GatewaySettings, Model, Provider
from tests.admin_pages import new_page_of, page_of, problems_on, save
from tests.factories import (
    AliasFactory,
    CredentialFactory,
    FallbackFactory,
    GuardFactory,
    ModelFactory,
    ProviderFactory,
    RouteFactory,
    TenantFactory,
)

pytestmark = pytest.mark.django_db


class TestGatewaySettings:
    def test_there_is_one_row(self, admin_client: Client) -> None:
        response = save(
            admin_client, new_page_of(GatewaySettings), {"retention": '{"usage": "400d"}'}
        )
        assert problems_on(response) == ""
        assert GatewaySettings.objects.get().retention == {"usage": "400d"}
        assert admin_client.get(new_page_of(GatewaySettings)).status_code == 403


class TestProviders:
    def test_a_provider_is_made_with_its_credentials(self, admin_client: Client) -> None:
        response = save(
            admin_client,
            new_page_of(Provider),
            {
                "name": "openai",
                "dialect": "openai",
                "base_url": "https://api.openai.example/v1",
                "credentials-0-name": "main",
                "credentials-0-new_secret": "sk-given",
            },
            more_rows={"credentials": 1},
        )
        assert problems_on(response) == ""
        credential = Credential.objects.get()
        assert (credential.name, credential.secret) == ("main", "sk-given")

    def test_a_probe_is_set_and_taken_away(self, admin_client: Client) -> None:
        provider = ProviderFactory.create()
        url = page_of(provider)
        for given, stored in [("{}", {}), ('{"interval": "1m"}', {"interval": "1m"}), ("", None)]:
            assert problems_on(save(admin_client, url, {"probe": given})) == ""
            provider.refresh_from_db()
            assert provider.probe == stored

    def test_a_probe_that_breaks_a_rule_is_refused_by_its_path(self, admin_client: Client) -> None:
        provider = ProviderFactory.create(name="openai")
        refused = save(admin_client, page_of(provider), {"probe": '{"path": "models"}'})
        assert "providers.openai.probe.path" in problems_on(refused)

    def test_a_credentials_secret_is_never_shown_and_stays(self, admin_client: Client) -> None:
        credential = CredentialFactory.create(secret="sk-hidden")
        url = page_of(credential.provider)
        assert "sk-hidden" not in admin_client.get(url).content.decode()
        assert problems_on(save(admin_client, url, {"credentials-0-weight": "3"})) == ""
        credential.refresh_from_db()
        assert (credential.weight, credential.secret) == (3, "sk-hidden")

    def test_a_changed_literal_clears_the_reference(self, admin_client: Client) -> None:
        credential = CredentialFactory.create(secret_reference="env:OPENAI_API_KEY")
        url = page_of(credential.provider)
        save(admin_client, url, {"credentials-0-new_secret": "sk-new"})
        credential.refresh_from_db()
        assert (credential.secret, credential.secret_reference) == ("sk-new", "")

    def test_a_dialect_needs_a_base_url(self, admin_client: Client) -> None:
        changes = {"name": "openai", "dialect": "openai", "base_url": ""}
        response = save(admin_client, new_page_of(Provider), changes)
        assert problems_on(response) != ""


class TestModels:
    @pytest.mark.parametrize(
        ("owner", "accepted"), [(None, True), ("acme", True), ("globex", False)]
    )
    def test_a_tenants_model_uses_its_own_or_the_gateways_provider(
        self, admin_client: Client, owner: str | None, accepted: bool
    ) -> None:
        tenant = TenantFactory.create(name="acme")
        provider = ProviderFactory.create(
            name="upstream", tenant=TenantFactory.create(name=owner) if owner else None
        )
        changes = {
            "name": "m",
            "tenant": tenant.pk,
            "provider": provider.pk,
            "upstream": "u",
            "capabilities": "",
        }
        response = save(admin_client, new_page_of(Model), changes)
        assert (problems_on(response) == "") is accepted


def _targets(alias: Alias) -> list[list[tuple[str, int]]]:
    return [
        [(target.model.name, target.weight) for target in route.targets.order_by("position")]
        for route in alias.routes.order_by("position")
    ]


class TestAliases:
    def test_an_alias_is_made_with_all_that_it_needs(self, admin_client: Client) -> None:
        ModelFactory.create(name="gpt-4o")
        mini = ModelFactory.create(name="mini")
        guard = GuardFactory.create()
        response = save(
            admin_client,
            new_page_of(Alias),
            {
                "name": "pro",
                "routes-0-when": '{"scope": "beta"}',
                "routes-0-targets": "mini",
                "routes-1-targets": "gpt-4o 90\n mini  10 \n",
                "fallbacks-0-model": mini.pk,
                "aliasguard_set-0-guard": guard.pk,
            },
            more_rows={"routes": 2, "fallbacks": 1, "aliasguard_set": 1},
        )
        assert problems_on(response) == ""
        alias = Alias.objects.get()
        assert _targets(alias) == [[("mini", 1)], [("gpt-4o", 90), ("mini", 10)]]
        assert alias.fallbacks.get().model == mini
        assert alias.guards.get() == guard

    def test_an_alias_without_a_route_is_refused(self, admin_client: Client) -> None:
        response = save(admin_client, new_page_of(Alias), {"name": "pro"})
        assert "aliases.pro.routes" in problems_on(response)
        assert not Alias.objects.exists()

    @pytest.mark.parametrize(
        ("targets", "problem"),
        [
            ("nowhere", "There is no model nowhere"),
            ("gpt-4o many", "The weight of gpt-4o is not a whole number."),
            ("gpt-4o -1", "The weight of gpt-4o is not a whole number."),
            ("gpt-4o 1.5", "The weight of gpt-4o is not a whole number."),
            ("", "This field is required."),
        ],
    )
    def test_targets_are_models_with_weights(
        self, admin_client: Client, targets: str, problem: str
    ) -> None:
        alias = AliasFactory.create()
        response = save(admin_client, page_of(alias), {"routes-0-targets": targets})
        assert problem in problems_on(response)
        assert _targets(alias) == [[("gpt-4o", 1)]]

    def test_a_tenants_alias_prefers_its_own_model(self, admin_client: Client) -> None:
        tenant = TenantFactory.create()
        ModelFactory.create(name="gpt-4o")
        own = ModelFactory.create(name="gpt-4o", tenant=tenant)
        changes = {"name": "pro", "tenant": tenant.pk, "routes-0-targets": "gpt-4o"}
        response = save(admin_client, new_page_of(Alias), changes, more_rows={"routes": 1})
        assert problems_on(response) == ""
        assert Alias.objects.get().routes.get().targets.get().model == own

    def test_the_gateways_alias_does_not_reach_a_tenants_model(self, admin_client: Client) -> None:
        own = ModelFactory.create(name="own", tenant=TenantFactory.create())
        alias = AliasFactory.create()
        response = save(admin_client, page_of(alias), {"routes-0-targets": "own"})
        assert "There is no model own" in problems_on(response)
        response = save(
            admin_client,
            page_of(alias),
            {"fallbacks-0-model": own.pk},
            more_rows={"fallbacks": 1},
        )
        assert "not this alias's to use" in problems_on(response)

    @pytest.mark.parametrize(
        ("places", "order"),
        [
            (["0", "1", "2"], "abc"),
            (["2", "1", "0"], "cba"),
            (["1", "2", "0"], "cab"),
            (["", "0", "1"], "bca"),
            (["5", "5", "5"], "abc"),
        ],
    )
    def test_routes_change_places(
        self, admin_client: Client, places: list[str], order: str
    ) -> None:
        alias = AliasFactory.create(route=None)
        for position, name in enumerate("abc"):
            model = ModelFactory.create(name=name)
            RouteFactory.create(alias=alias, position=position, target__model=model)
        changes = {f"routes-{n}-place": place for n, place in enumerate(places)}
        assert problems_on(save(admin_client, page_of(alias), changes)) == ""
        assert "".join(route[0][0] for route in _targets(alias)) == order
        assert [route.position for route in alias.routes.order_by("position")] == [0, 1, 2]

    def test_a_route_goes_and_the_others_close_up(self, admin_client: Client) -> None:
        alias = AliasFactory.create(route=None)
        for position, name in enumerate("abc"):
            model = ModelFactory.create(name=name)
            RouteFactory.create(alias=alias, position=position, target__model=model)
        assert problems_on(save(admin_client, page_of(alias), {"routes-0-DELETE": "on"})) == ""
        assert _targets(alias) == [[("b", 1)], [("c", 1)]]
        assert [route.position for route in alias.routes.order_by("position")] == [0, 1]

    def test_a_model_is_one_fallback(self, admin_client: Client) -> None:
        fallback = FallbackFactory.create()
        changes: dict[str, Any] = {"fallbacks-1-model": fallback.model.pk}
        response = save(admin_client, page_of(fallback.alias), changes, more_rows={"fallbacks": 1})
        assert "This stands here twice." in problems_on(response)
