"""How long usage is kept."""

import datetime

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import retention
from billing.models import Attempt, RefusalCount, UsageRecord
from billing.retention import configured, first_unclosed, prune
from routing.models import GatewaySettings
from tests.factories import NOON, AttemptFactory, RefusalCountFactory, UsageRecordFactory

DAY = datetime.timedelta(days=1)


def _utc(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("now", "unclosed"),
    [
        # In Kiritimati September began at 10:00 on 31 August, UTC.
        (_utc(2026, 10, 15, 12), _utc(2026, 8, 31, 10)),
        # In Baker Island it is still October, so September may be unclosed there.
        (_utc(2026, 11, 1, 5), _utc(2026, 8, 31, 10)),
        (_utc(2026, 11, 1, 12), _utc(2026, 9, 30, 10)),
        (_utc(2026, 1, 20), _utc(2025, 11, 30, 10)),
    ],
)
def test_the_current_and_the_previous_month_are_unclosed_in_every_timezone(
    now: datetime.datetime, unclosed: datetime.datetime
) -> None:
    assert first_unclosed(now) == unclosed


@pytest.mark.django_db
class TestPrune:
    def test_what_is_older_goes_and_the_rest_stays(self) -> None:
        for age in (99, 101, 400):
            UsageRecordFactory.create(started_at=NOON - age * DAY)
            AttemptFactory.create(started_at=NOON - age * DAY)
            RefusalCountFactory.create(hour=NOON - age * DAY)
        pruned = prune(older_than=100 * DAY, now=NOON)
        assert (pruned.records, pruned.attempts, pruned.refusals) == (2, 2, 2)
        assert pruned.cutoff == NOON - 100 * DAY
        for model in (UsageRecord, Attempt, RefusalCount):
            assert model.objects.count() == 1

    def test_unclosed_periods_stay_whatever_is_asked_for(self) -> None:
        for started_at in (_utc(2026, 9, 1), _utc(2026, 8, 31, 9)):
            UsageRecordFactory.create(started_at=started_at)
        assert prune(older_than=0 * DAY, now=NOON).records == 1
        assert UsageRecord.objects.get().started_at == _utc(2026, 9, 1)

    def test_many_rows_go_in_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 2)
        UsageRecordFactory.create_batch(5, started_at=NOON - 200 * DAY)
        assert prune(older_than=100 * DAY, now=NOON).records == 5

    def test_a_second_prune_finds_nothing(self) -> None:
        UsageRecordFactory.create(started_at=NOON - 200 * DAY)
        prune(older_than=100 * DAY, now=NOON)
        assert prune(older_than=100 * DAY, now=NOON).records == 0

    @pytest.mark.parametrize(
        ("kept", "expected"),
        [(None, None), ({}, None), ({"usage": "90d"}, 90 * DAY)],
    )
    def test_the_default_is_the_configurations(
        self, kept: dict[str, str] | None, expected: datetime.timedelta | None
    ) -> None:
        if kept is not None:
            GatewaySettings.objects.create(retention=kept)
        assert configured() == expected


@pytest.mark.django_db
class TestCommand:
    @pytest.fixture(autouse=True)
    def _keep_400_days(self) -> None:
        GatewaySettings.objects.create(retention={"usage": "400d"})

    def _prune(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        call_command("prune", *arguments)
        return capsys.readouterr().out

    def test_it_says_how_many_went(self, capsys: pytest.CaptureFixture[str]) -> None:
        UsageRecordFactory.create(started_at=timezone.now() - 401 * DAY)
        UsageRecordFactory.create(started_at=timezone.now() - 399 * DAY)
        assert self._prune(capsys).startswith("deleted 1 usage records")
        assert UsageRecord.objects.count() == 1

    def test_without_a_retention_usage_is_kept_for_ever(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        GatewaySettings.objects.all().delete()
        UsageRecordFactory.create(started_at=timezone.now() - 4000 * DAY)
        assert "gateway.retention.usage is not configured" in self._prune(capsys)
        assert UsageRecord.objects.count() == 1

    def test_an_option_wins_over_the_configuration(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        RefusalCountFactory.create(hour=timezone.now() - 399 * DAY)
        assert "and 1 refusal counts" in self._prune(capsys, "--older-than", "100d")

    def test_it_says_when_unclosed_periods_stay(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "not closed, and stays" in self._prune(capsys, "--older-than", "1h")
        assert "not closed" not in self._prune(capsys)

    def test_a_duration_that_is_none_is_named(self) -> None:
        with pytest.raises(CommandError, match="--older-than"):
            call_command("prune", "--older-than", "a while")
