"""Versions of the configuration: what was in force, and drafts of what shall be."""

import threading
import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from routing import config
from routing.config import comparing, recording, versions
from routing.config.comparing import Line, compared
from routing.models import Alias, ConfigurationVersion, Credential
from tenants.models import Key, Tenant
from tests.factories import KeyFactory, TenantFactory
from tests.routing.conftest import Apply

pytestmark = pytest.mark.django_db

ACME, GLOBEX = "tenants: {acme: {}}", "tenants: {globex: {}}"


def states() -> list[tuple[str, str, str]]:
    """Oldest first."""
    rows = ConfigurationVersion.objects.order_by("pk")
    return list(rows.values_list("state", "note", "published_by"))


def draft_of(text: str, **fields: Any) -> ConfigurationVersion:
    base = config.digest(config.export())
    return ConfigurationVersion.objects.create(text=text, base=base, **fields)


def publish(version: ConfigurationVersion) -> config.Outcome:
    return versions.publish(version, by="ada", expected=config.digest(config.export()))


def test_what_an_apply_changes_is_a_version_of_what_is_in_force(apply: Apply) -> None:
    config.apply(ACME, source="a.yaml", by="ada")
    [version] = ConfigurationVersion.objects.all()
    assert (version.state, version.note) == ("published", "From a.yaml")
    assert (version.created_by, version.published_by) == ("ada", "ada")
    assert version.text == config.export()
    assert version.published_at is not None


def test_an_apply_that_changes_nothing_adds_none(apply: Apply) -> None:
    apply(ACME)
    apply(ACME)
    apply(GLOBEX, dry_run=True)
    assert len(states()) == 1


def test_the_next_one_supersedes_it(apply: Apply) -> None:
    apply(ACME)
    apply(GLOBEX)
    assert [state for state, _, _ in states()] == ["superseded", "published"]
    newest = ConfigurationVersion.objects.get(state="published")
    assert newest.replaced == ConfigurationVersion.objects.get(state="superseded")


def test_what_other_pages_changed_is_not_lost(apply: Apply) -> None:
    apply(ACME)
    TenantFactory.create(name="by-hand")
    apply(GLOBEX)
    assert [(state, by) for state, _, by in states()] == [
        ("superseded", ""),
        ("superseded", "other pages"),
        ("published", ""),
    ]
    found = ConfigurationVersion.objects.get(published_by="other pages")
    assert "by-hand" in found.text
    assert "globex" not in found.text


def test_old_versions_go_and_drafts_stay(apply: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "KEPT", 2)
    apply(ACME)
    draft_of(ACME)
    for number in range(5):
        apply(f"tenants: {{tenant-{number}: {{}}}}")
    found = [state for state, _, _ in states()]
    assert sorted(found) == ["draft", "published", "superseded", "superseded"]


def test_large_versions_go_sooner(apply: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    apply("tenants: {tenant-0: {}}")
    largest = len(config.export())
    monkeypatch.setattr(recording, "KEPT_CHARACTERS", 2 * largest)
    for number in range(1, 6):
        apply(f"tenants: {{tenant-{number}: {{}}}}", prune=True)
    assert [state for state, _, _ in states()] == ["superseded", "superseded", "published"]


def test_versions_hold_references_alone(apply: Apply, small_file: str) -> None:
    apply(small_file)
    [version] = ConfigurationVersion.objects.all()
    assert "stored:openai/spare" in version.text
    assert "env:SMALL_OPENAI_KEY" in version.text
    for secret in ("sk-a-literal", "shared-secret", "whsec", "sk-own"):
        assert secret not in version.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tenants: {acme: {tear: x}}", "tenants.acme.tear: unknown key"),
        ("tenants: {acme: {tier: gold}}", "tenants.acme.tier: there is no tier 'gold'"),
        (
            'providers: {p: {dialect: openai, base_url: "https://p.example", '
            "credentials: [{name: main, secret: sk-secret}]}}",
            "providers.p.credentials[0].secret: a draft holds no secret itself",
        ),
        ("[1", "not YAML"),
        ("#" * (versions.LARGEST_DRAFT + 1), "at most 2000000 characters"),
    ],
)
def test_a_draft_is_checked_like_a_file_and_holds_no_secret(db: None, text: str, said: str) -> None:
    with pytest.raises(config.ConfigInvalid) as raised:
        versions.check_draft(text)
    assert said in str(raised.value)
    assert "sk-secret" not in str(raised.value)


def naming(reference: str, provider: str = "p") -> str:
    credentials = f'credentials: [{{name: main, secret: "{reference}"}}]'
    return (
        f'providers: {{{provider}: {{dialect: openai, base_url: "https://p.example", '
        f"{credentials}}}}}"
    )


@pytest.mark.parametrize(
    "reference",
    [
        *("env:GATEWAY_SECRET_KEY", "env:DJANGO_SETTINGS_MODULE", "env:DATABASE_URL"),
        *("env:REDIS_URL", "file:/etc/passwd", "file:/there/is/none"),
    ],
)
def test_a_draft_names_no_file_and_no_setting_of_the_gateway(apply: Apply, reference: str) -> None:
    said = r"providers\.p\.credentials\[0\]\.secret: a draft names no (file|setting)"
    with pytest.raises(config.ConfigInvalid, match=said):
        versions.check_draft(naming(reference))
    stored = draft_of(naming(reference))
    for try_it in (versions.try_out, publish):
        with pytest.raises(config.ConfigInvalid, match=said) as refused:
            try_it(stored)
        assert "not there" not in str(refused.value)
    apply(naming(reference))
    versions.check_draft(naming(reference))  # an operator has named it in that place
    with pytest.raises(config.ConfigInvalid, match="a draft names no"):
        versions.check_draft(naming(reference, provider="other"))
    older = ConfigurationVersion.objects.get(state="published")
    apply("version: 1", prune=True)
    publish(older)
    assert Credential.objects.get().secret_reference == reference


def test_a_draft_may_name_other_variables(apply: Apply) -> None:
    versions.check_draft(naming("env:OPENAI_API_KEY"))


def test_checking_a_draft_changes_nothing(apply: Apply) -> None:
    apply(ACME)
    before = config.export()
    versions.check_draft(GLOBEX)
    assert config.export() == before
    assert len(states()) == 1


def test_publishing_puts_the_whole_draft_in_force(apply: Apply) -> None:
    apply("tenants: {acme: {}, leaving: {}}")
    draft = draft_of("# with a remark\ntenants: {acme: {name: Acme Corp}}", created_by="bob")
    outcome = publish(draft)
    assert outcome.changes == ["+ tenants.acme.name: Acme Corp", "- tenants.leaving"]
    assert set(Tenant.objects.values_list("name", flat=True)) == {"acme"}
    draft.refresh_from_db()
    assert (draft.state, draft.created_by, draft.published_by) == ("published", "bob", "ada")
    assert draft.text == config.export()
    assert len(states()) == 2


def test_a_draft_of_an_older_state_is_refused(apply: Apply) -> None:
    apply(ACME)
    draft = draft_of("tenants: {acme: {name: Acme Corp}}")
    apply(GLOBEX)
    with pytest.raises(config.ConfigMoved):
        versions.publish(draft, by="ada", expected=draft.base)
    assert Tenant.objects.filter(name="globex").exists()
    draft.refresh_from_db()
    assert draft.state == "draft"


def test_a_draft_that_has_become_invalid_changes_nothing(apply: Apply) -> None:
    apply("tiers: {gold: {}}")
    draft = draft_of("tenants: {acme: {tier: gold}, globex: {}}")
    with pytest.raises(config.ConfigInvalid, match="there is no tier 'gold'"):
        publish(draft)
    assert not Tenant.objects.exists()
    assert len(states()) == 2


def test_what_is_in_force_already_is_not_published_again(apply: Apply) -> None:
    apply(ACME)
    with pytest.raises(versions.NothingToPublish):
        publish(draft_of(ACME))
    assert [state for state, _, _ in states()] == ["published", "draft"]


def test_rolling_back_is_a_version_of_its_own(apply: Apply) -> None:
    apply(
        "providers: {demo: {dialect: demo}}\nmodels: {m: {provider: demo, upstream: m}}\n"
        "aliases: {pro: {routes: [{targets: [{model: m}]}]}}\ntenants: {acme: {aliases: [pro]}}"
    )
    first = ConfigurationVersion.objects.get()
    publish(draft_of("tenants: {acme: {}}"))
    assert not Alias.objects.exists()
    publish(first)
    assert config.export() == first.text
    assert [(state, note) for state, note, _ in states()] == [
        ("superseded", "From test.yaml"),
        ("superseded", ""),
        ("published", f"Back to #{first.pk}"),
    ]


def test_rolling_back_over_a_secret_that_is_gone_says_where(apply: Apply) -> None:
    paid = (
        'providers: {paid: {dialect: openai, base_url: "https://api.example", '
        "credentials: [{name: main, secret: sk-literal}]}}"
    )
    apply(paid)
    first = ConfigurationVersion.objects.get()
    second = draft_of(ACME)
    assert versions.try_out(second).forgotten == ["stored:paid/main"]
    publish(second)
    assert not Credential.objects.exists()
    with pytest.raises(config.ConfigInvalid, match=r"providers\.paid\.credentials\[0\]\.secret"):
        publish(first)


def test_a_secret_that_is_unset_here_stays_while_its_reference_does(
    apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid = (
        'providers: {paid: {dialect: openai, base_url: "https://api.example", '
        'credentials: [{name: main, secret: "env:SET_FOR_THE_APPLY"}]}}\n'
    )
    monkeypatch.setenv("SET_FOR_THE_APPLY", "sk-given")
    apply(paid)
    monkeypatch.delenv("SET_FOR_THE_APPLY")
    outcome = publish(draft_of(paid + ACME))
    assert outcome.changes == ["+ tenants.acme"]
    assert Credential.objects.get().secret == "sk-given"
    publish(draft_of(paid.replace("SET_FOR_THE_APPLY", "ANOTHER")))
    assert Credential.objects.get().secret == ""


def test_issued_keys_outlive_a_roll_back(apply: Apply) -> None:
    apply(ACME)
    first = ConfigurationVersion.objects.get()
    apply(GLOBEX)
    KeyFactory.create(tenant=Tenant.objects.get(name="globex"))
    outcome = publish(first)
    assert Key.objects.count() == 1
    assert Tenant.objects.get(name="globex").status == "suspended"
    assert outcome.warnings == ["tenants.globex: kept, but suspended: it has issued keys"]


@pytest.mark.django_db(transaction=True)
def test_two_who_publish_at_once_take_turns() -> None:
    config.apply(ACME, source="a.yaml")
    seen = config.digest(config.export())
    drafts = [draft_of(f"tenants: {{acme: {{}}, new-{number}: {{}}}}") for number in range(4)]
    outcomes: list[str] = []
    together = threading.Barrier(len(drafts))

    def publish_one(draft: ConfigurationVersion) -> None:
        together.wait()
        try:
            versions.publish(draft, by="ada", expected=seen)
            outcomes.append("published")
        except config.ConfigMoved:
            outcomes.append("moved")
        finally:
            connection.close()

    threads = [threading.Thread(target=publish_one, args=[draft]) for draft in drafts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["moved", "moved", "moved", "published"]
    assert ConfigurationVersion.objects.filter(state="published").count() == 1
    assert Tenant.objects.count() == 2


# ---- comparisons


def test_a_comparison_shows_what_differs_with_what_stands_around_it() -> None:
    old = "\n".join(["tenants:", "  acme:", *(f"    line {number}" for number in range(20))])
    new = old.replace("line 10", "another")
    lines = list(compared(old, new))
    assert [line.kind for line in lines] == ["place", *["same"] * 3, "gone", "new", *["same"] * 3]
    assert [lines[0].text, lines[4].text, lines[5].text] == [
        "tenants.acme",
        "    line 10",
        "    another",
    ]
    assert list(compared(old, old)) == []


def sides(lines: list[Line], kinds: set[str]) -> list[str]:
    return [line.text for line in lines if line.kind in kinds]


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")), st.booleans())
def test_a_comparison_leaves_out_nothing_that_differs(
    one: list[str], other: list[str], large: bool
) -> None:
    """However large the things are: a patch of what is gone and new leads from old to new."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "LARGEST_PART", 0 if large else 100)
        patch.setattr(comparing, "CONTEXT", 1_000)
        old, new = (["tenants:", *(f"    {letter}" for letter in side)] for side in (one, other))
        lines = list(compared("\n".join(old), "\n".join(new)))
    if old == new:
        assert lines == []
    else:
        assert sides(lines, {"same", "gone"}) == old
        assert sides(lines, {"same", "new"}) == new


@pytest.mark.parametrize("entries", [20_000, 1])
def test_a_comparison_of_very_many_lines_ends_soon(entries: int) -> None:
    """80,000 that all differ, in many things or in one."""
    each = 80_000 // entries // 2
    lines = [
        line
        for entry in range(entries)
        for line in (f"  t{entry}:", *(f"    n{at}: A" for at in range(2 * each - 1)))
    ]
    old = "\n".join(["tenants:", *lines])
    began = time.monotonic()
    found = list(compared(old, old.replace(" A", " B")))
    assert time.monotonic() - began < 5
    assert len(sides(found, {"new"})) == len(lines) - entries


# ---- what nobody waits for


def test_trying_out_and_checking_only_read(apply: Apply, small_file: str) -> None:
    apply(small_file)
    draft = draft_of(config.export().replace("tenants:", "tenants:\n  zeta: {}", 1))
    with CaptureQueriesContext(connection) as asked:
        versions.check_draft(draft.text)
        trial = versions.try_out(draft)
    assert trial.outcome.changes == ["+ tenants.zeta"]
    assert {query["sql"].split()[0] for query in asked.captured_queries} == {"SELECT"}


def test_what_was_tried_out_is_what_is_then_in_force(apply: Apply, small_file: str) -> None:
    apply(small_file)
    text = config.export()
    for draft in (draft_of(text + "  zeta: {}\n"), draft_of(ACME)):
        trial = versions.try_out(draft)
        assert trial.before == config.export()
        publish(draft)
        assert trial.after == config.export()
