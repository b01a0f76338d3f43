"""`manage.py simulate`."""

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.serializers import serialize
from django.db import connection
from django.utils import timezone

from billing.models import UsageRecord
from routing import config
from tenants.models import Revision
from tests.billing.simulation.installation import FILE, add, install, of_acme, of_pro

pytestmark = pytest.mark.django_db

CHEAPER = of_pro("routes: [{targets: [{model: small}]}]")


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    path = tmp_path / "draft.yaml"
    path.write_text(CHEAPER)
    return path


def run(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("simulate", *map(str, arguments), stdout=out)
    return out.getvalue()


def everything_stored() -> dict[str, str]:
    """Every row of every table that a migration made."""
    from django.apps import apps

    rows = {}
    for model in apps.get_models():
        if model._meta.managed and model._meta.db_table in connection.introspection.table_names():
            rows[model._meta.label] = serialize("json", model._base_manager.order_by("pk"))
    return rows


def test_before_and_after_are_printed_with_the_change(draft: Path) -> None:
    add(install(), 10)
    said = run(draft)
    assert [line.split() for line in said.splitlines() if line.strip().startswith("total")] == [
        [
            *("total", "10", "0", "10"),
            *("0.075", "USD", "0.0045", "USD", "-0.0705", "(-94", "%)"),
            *("0.09", "USD", "0.0054", "USD", "-0.0846", "(-94", "%)"),
        ]
    ]
    assert "The same tokens are assumed whichever model answers." in said


def test_refusals_name_their_budget(draft: Path) -> None:
    add(install(), 10)
    draft.write_text(of_acme("budgets: [{amount: 0.04, period: total}]"))
    [line] = [line for line in run(draft).splitlines() if "insufficient_quota" in line]
    assert line.split() == [
        *("acme", "insufficient_quota"),
        *("0.04", "(charge)", "in", "all", "of", "the", "tenant", "acme", "6"),
    ]


def test_json_has_it_all_for_programs(draft: Path) -> None:
    add(install(), 10)
    found = json.loads(run(draft, "--json", "--since", "2d", "--tenant", "acme"))
    assert found["tenant"] == "acme"
    assert found["total"]["after"]["charge"] == "0.0054"
    assert found["rows"][0]["alias"] == "pro"


def test_only_the_span_that_is_asked_for_is_replayed(draft: Path) -> None:
    configured = install()
    add(configured, 3)
    add(configured, 4, started_at=timezone.now() - datetime.timedelta(days=40))
    assert json.loads(run(draft, "--json"))["total"]["before"]["requests"] == 3
    found = json.loads(run(draft, "--json", "--since", "90d"))
    assert found["total"]["before"]["requests"] == 7


def test_what_the_draft_lacks_goes_only_with_prune(draft: Path) -> None:
    add(install(), 1, alias="mini")
    draft.write_text(FILE.replace("  mini: {routes: [{targets: [{model: small}]}]}\n", ""))
    assert json.loads(run(draft, "--json"))["refusals"] == []
    [refusal] = json.loads(run(draft, "--json", "--prune"))["refusals"]
    assert refusal == {"tenant": "acme", "code": "alias_not_found", "rule": "", "requests": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tenants: {acme: {tear: x}}", "tenants.acme.tear: unknown key"),
        (FILE.replace("{model: large}", "{model: huge}"), "aliases.pro.routes"),
        ("[1", "not YAML"),
    ],
)
def test_a_wrong_draft_names_the_yaml_path(draft: Path, text: str, said: str) -> None:
    install()
    draft.write_text(text)
    with pytest.raises(CommandError, match=said) as raised:
        run(draft)
    assert "nothing was simulated" in str(raised.value)


def test_an_unknown_tenant_or_file_is_an_error(draft: Path) -> None:
    with pytest.raises(CommandError, match="there is no tenant 'nobody'"):
        run(draft, "--tenant", "nobody")
    with pytest.raises(CommandError, match="No such file"):
        run("/no/such/file.yaml")
    with pytest.raises(CommandError, match="--since"):
        run(draft, "--since", "soon")


@pytest.mark.django_db(transaction=True)
def test_nothing_in_the_database_is_changed(draft: Path) -> None:
    add(install(), 10)
    secrets = "providers: {demo: {dialect: demo}, paid: {dialect: openai, " + (
        'base_url: "https://api.example", credentials: [{name: main, secret: sk-literal}]}}'
    )
    config.apply(secrets, source="paid.yaml")
    before, exported = everything_stored(), config.export()
    draft.write_text(of_acme("status: suspended, budgets: [{amount: 0.04, period: total}]"))
    assert json.loads(run(draft, "--json", "--prune"))["changes"]
    assert everything_stored() == before
    assert config.export() == exported


def test_an_unset_secret_is_no_reason_to_refuse(draft: Path) -> None:
    add(install(), 2)
    draft.write_text(
        FILE.replace(
            "providers: {demo: {dialect: demo}}",
            'providers: {demo: {dialect: openai, base_url: "https://api.example", '
            'credentials: [{name: main, secret: "env:SET_SOMEWHERE_ELSE"}]}}',
        )
    )
    assert json.loads(run(draft, "--json"))["refusals"] == []


def test_whoever_watches_the_revisions_sees_nothing(draft: Path) -> None:
    add(install(), 1)
    before = dict(Revision.objects.values_list("name", "number"))
    run(draft)
    assert dict(Revision.objects.values_list("name", "number")) == before
    assert UsageRecord.objects.count() == 1
