"""What is stored but not acted on is named."""

import pytest

from routing import config
from routing.config.in_force import IN_FORCE
from routing.config.schema import Document, Gateway
from routing.config.schema_aliases import Alias, Route, Slow, When
from routing.config.schema_prices import PriceBook
from routing.config.schema_routing import Model, Provider
from routing.config.schema_tenants import KeyPolicy, PriceFactors, Project, Tenant, Tier
from tests.routing.conftest import Apply


def test_an_empty_gateway_has_nothing_to_say(db: None) -> None:
    assert config.not_in_force() == []


def test_what_occurs_and_is_not_acted_on_is_named(apply: Apply, small_file: str) -> None:
    apply(small_file)
    named = config.not_in_force()
    assert "guards" in named
    assert "gateway.limits" not in named
    assert "gateway.retention" not in named
    assert named == sorted(set(named))


def test_a_dialect_or_strategy_of_later_is_named() -> None:
    configuration = {
        "providers": {"p": {"dialect": "fax"}},
        "aliases": {"a": {"routes": [{"targets": [], "strategy": "astrology"}]}},
    }
    assert config.not_in_force(configuration) == ["dialect fax", "strategy astrology"]


@pytest.mark.parametrize(
    ("section", "shape"),
    [
        ("gateway", Gateway),
        ("providers", Provider),
        ("models", Model),
        ("price_books", PriceBook),
        ("aliases", Alias),
        ("aliases.slow", Slow),
        ("aliases.routes", Route),
        ("aliases.routes.when", When),
        ("tiers", Tier),
        ("tenants", Tenant),
        ("tenants.price_factors", PriceFactors),
        ("tenants.projects", Project),
        ("tenants.keys", KeyPolicy),
    ],
)
def test_the_table_names_only_fields_there_are(section: str, shape: type[Document]) -> None:
    assert IN_FORCE[section] <= set(shape.model_fields)
