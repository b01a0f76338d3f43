"""Usage as files: columns, quoting, control totals, and the command that writes them."""

import csv
import datetime
import hashlib
import io
import json
import tracemalloc
import uuid
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from billing import exports, ledger
from billing.columns import COLUMNS, decimal_cell, safe_cell
from billing.models import UsageRecord
from billing.records import Entry, Record
from tests.factories import NOON, TenantFactory, UsageRecordFactory

HEADER = (
    "record_id,request_id,started_at,tenant,project,key_id,key,user,alias,endpoint,provider,model,"
    "upstream_model,status,outcome,ended_by,stream,input_tokens,cached_input_tokens,"
    "cache_write_tokens,output_tokens,reasoning_tokens,usage_source,cost,cost_currency,"
    "cost_price_version,charge,charge_currency,charge_price_version,charge_policy,latency_ms,"
    "first_token_ms,gateway_ms,attempts,cache,labels"
)
RECORD_ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")

Line = dict[str, str]


def _parse(content: bytes) -> list[Line]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def _cells(*, layout: str = "csv", own: bool = False, **facts: Any) -> Line:
    """The row of a record that is in no database."""
    shape = exports.record_layout(layout, own=own)
    return _parse(shape.header + shape.page([UsageRecordFactory.build(**facts)]))[0]


def _export(pages: list[list[UsageRecord]], layout: str = "csv") -> tuple[bytes, Any]:
    written = io.BytesIO()
    total = exports.export_records(
        pages, layout=exports.record_layout(layout, own=False), write=written.write
    )
    return written.getvalue(), total


class TestColumns:
    def test_a_row_is_what_the_contract_says(self) -> None:
        record = UsageRecordFactory.build(
            record_id=RECORD_ID,
            request_id="abc",
            started_at=NOON + datetime.timedelta(microseconds=1500),
            labels={"team": "search", "env": "prod"},
        )
        shape = exports.record_layout("csv", own=False)
        assert shape.header.decode() == HEADER + "\r\n"
        assert shape.page([record]).decode() == (
            "01890a5d-ac96-774b-bcce-b302099a8057,abc,2026-10-15T12:00:00.001500Z,acme,support-bot,"
            "key0001,frontend,ada,pro,chat.completions,openai,gpt-4o,gpt-4o-2024-08-06,200,"
            "completed,upstream,false,100,0,0,20,0,provider,0.00045,USD,cost@2026-01-01,0.00054,"
            "USD,standard@2026-01-01,usage,812.5,200.125,0.9,1,MISS,"
            '"{""env"":""prod"",""team"":""search""}"\r\n'
        )

    def test_what_is_not_there_is_an_empty_cell(self) -> None:
        cells = _cells(cost=None, charge=None, first_token_us=None, provider="", labels={})
        for name in ("cost", "charge", "first_token_ms", "provider"):
            assert cells[name] == ""
        assert cells["labels"] == "{}"

    def test_a_tenants_own_export_does_not_say_what_providers_bill_us(self) -> None:
        cells = _cells(own=True)
        assert [cells[name] for name in ("cost", "cost_currency", "cost_price_version")] == [""] * 3
        assert cells["charge"] == "0.00054"

    @pytest.mark.parametrize(
        ("nano", "cell"),
        [
            (0, "0"),
            (1, "0.000000001"),
            (100_000_000, "0.1"),
            (300_000_000, "0.3"),
            (12_000_000_000, "12"),
            (8_999_999_999_999_999, "8999999.999999999"),
        ],
    )
    def test_amounts_have_no_float_artefacts(self, nano: int, cell: str) -> None:
        assert _cells(charge=nano)["charge"] == cell

    @pytest.mark.parametrize(
        ("microseconds", "cell"),
        [(0, "0"), (1, "0.001"), (12_345, "12.345"), (12_500, "12.5"), (60_000_000, "60000")],
    )
    def test_latencies_are_milliseconds_with_at_most_three_decimals(
        self, microseconds: int, cell: str
    ) -> None:
        assert _cells(latency_us=microseconds)["latency_ms"] == cell

    @given(st.integers(min_value=0, max_value=10**13))
    def test_a_latency_is_exact(self, microseconds: int) -> None:
        assert Decimal(decimal_cell(microseconds / 1000)) * 1000 == microseconds

    def test_json_lines_have_the_same_columns_with_amounts_as_strings(self) -> None:
        page = exports.record_layout("jsonl", own=False).page(
            [UsageRecordFactory.build(labels={"team": "search"}, charge=None)]
        )
        line = json.loads(page)
        assert ",".join(line) == HEADER
        assert line["cost"] == "0.00045"
        assert line["charge"] is None
        assert (line["latency_ms"], line["stream"], line["input_tokens"]) == (812.5, False, 100)
        assert line["labels"] == {"team": "search"}

    def test_a_tenants_own_json_lines_have_no_cost(self) -> None:
        page = exports.record_layout("jsonl", own=True).page([UsageRecordFactory.build()])
        assert json.loads(page)["cost"] is None


class TestFocus:
    def test_a_row_is_a_charge_of_the_gateway_to_a_tenant(self) -> None:
        cells = _cells(layout="focus", labels={"team": "search"}, reasoning_tokens=5)
        assert cells["BilledCost"] == cells["EffectiveCost"] == cells["ListCost"] == "0.00054"
        assert cells["BillingCurrency"] == "USD"
        assert cells["BillingPeriodStart"] == "2026-10-01T00:00:00Z"
        assert cells["BillingPeriodEnd"] == "2026-11-01T00:00:00Z"
        assert cells["ChargePeriodStart"] == "2026-10-15T12:00:00Z"
        assert cells["ChargePeriodEnd"] == "2026-10-15T12:00:01Z"
        assert (cells["ConsumedQuantity"], cells["ConsumedUnit"]) == ("125", "Tokens")
        assert (cells["ServiceName"], cells["SkuId"]) == ("pro", "gpt-4o")
        assert cells["ServiceCategory"] == "AI and Machine Learning"
        assert cells["SubAccountId"] == "acme"
        assert json.loads(cells["Tags"]) == {"team": "search"}
        assert cells["x_Cost"] == "0.00045"

    def test_a_tenants_own_rows_have_no_cost(self) -> None:
        cells = _cells(layout="focus", own=True)
        assert (cells["x_Cost"], cells["x_CostCurrency"]) == ("", "")
        assert cells["BilledCost"] == "0.00054"

    def test_what_is_not_priced_yet_bills_nothing_in_no_currency(self) -> None:
        cells = _cells(
            layout="focus", charge=None, charge_currency="", input_tokens=0, output_tokens=0
        )
        assert (cells["BilledCost"], cells["BillingCurrency"]) == ("0", "XXX")
        assert (cells["ConsumedQuantity"], cells["ConsumedUnit"]) == ("", "")


class TestQuoting:
    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
    def test_a_cell_that_a_spreadsheet_would_run_gets_a_quote(self, start: str) -> None:
        assert _cells(user=f"{start}cmd")["user"] == f"'{start}cmd"

    @pytest.mark.parametrize("text", ["", "ada", "a=b", "'", "1", "über", '"', "{}"])
    def test_other_text_stays_as_it_is(self, text: str) -> None:
        assert _cells(user=text)["user"] == text

    @given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
    def test_a_csv_reader_reads_back_what_was_written(
        self, user: str, request_id: str, labels: dict[str, str]
    ) -> None:
        cells = _cells(user=user, request_id=request_id, labels=labels)
        assert cells["user"] == safe_cell(user)
        assert cells["request_id"] == safe_cell(request_id)
        assert json.loads(cells["labels"]) == labels
        assert len(cells) == len(COLUMNS)


_records = st.builds(
    UsageRecordFactory.build,
    input_tokens=st.integers(0, 10**9),
    cached_input_tokens=st.integers(0, 10**9),
    cache_write_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
    reasoning_tokens=st.integers(0, 10**9),
    cost=st.none() | st.integers(0, 9 * 10**15),
    charge=st.none() | st.integers(0, 9 * 10**15),
    charge_currency=st.sampled_from(["USD", "EUR"]),
)


class TestControlTotals:
    @given(st.lists(st.lists(_records, min_size=1, max_size=3), max_size=3))
    def test_the_totals_are_those_of_the_rows_that_were_written(
        self, pages: list[list[UsageRecord]]
    ) -> None:
        content, total = _export(pages)
        rows = _parse(content)
        charges: Counter[str] = Counter()
        for row in rows:
            if row["charge"]:
                charges[row["charge_currency"]] += int(Decimal(row["charge"]) * 10**9)
        assert total.rows == len(rows)
        assert total.charges == charges
        assert sum(total.costs.values()) == sum(Decimal(row["cost"] or 0) * 10**9 for row in rows)
        assert total.tokens == sum(
            int(row[f"{bucket}_tokens"])
            for row in rows
            for bucket in ("input", "cached_input", "cache_write", "output", "reasoning")
        )
        assert total.sha256 == hashlib.sha256(content).hexdigest()


def _bulk(count: int, **facts: Any) -> None:
    UsageRecord.objects.bulk_create(UsageRecordFactory.build_batch(count, **facts))


@pytest.mark.django_db
class TestPages:
    def test_pages_hold_every_record_once_in_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exports, "PAGE", 3)
        for seconds in (2, 0, 1):
            _bulk(4, started_at=NOON + datetime.timedelta(seconds=seconds))
        pages = list(exports.pages_of(UsageRecord.objects.all()))
        assert [len(page) for page in pages] == [3, 3, 3, 3]
        found = [(record.started_at, record.record_id) for page in pages for record in page]
        assert found == sorted(found)
        assert len(set(found)) == 12

    def test_records_of_a_whole_second_come_once_whoever_wrote_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SQLite keeps times as text: the ledger writes `12:00:00.000000`, the ORM `12:00:00`."""
        monkeypatch.setattr(exports, "PAGE", 1)
        ours = [uuid.UUID(int=number) for number in (2, 3)]
        ledger.write([Entry(True, self._record(number)) for number in ours], {}, now=NOON)
        theirs = UsageRecordFactory.create(record_id=uuid.UUID(int=1)).record_id
        pages = exports.pages_of(UsageRecord.objects.all())
        assert [record.record_id for page in pages for record in page] == [theirs, *ours]

    def _record(self, number: uuid.UUID) -> Record:
        return Record(
            record_id=str(number),
            request_id="r",
            started_at=NOON.isoformat(timespec="microseconds"),
            tenant="acme",
            alias="pro",
            endpoint="chat.completions",
            status=200,
            outcome="completed",
            ended_by="upstream",
            stream=False,
        )

    def test_memory_does_not_grow_with_the_number_of_records(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exports, "PAGE", 100)
        self._one_a_second(500)
        few = self._peak()
        self._one_a_second(4500)
        assert self._peak() < few * 1.5

    def _one_a_second(self, count: int) -> None:
        UsageRecord.objects.bulk_create(
            UsageRecordFactory.build(started_at=NOON + datetime.timedelta(seconds=second))
            for second in range(count)
        )

    def _peak(self) -> int:
        tracemalloc.start()
        exports.export_records(
            exports.pages_of(UsageRecord.objects.all()),
            layout=exports.record_layout("csv", own=False),
            write=len,
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak


OCTOBER = ["--from", "2026-10-01", "--to", "2026-11-01"]


@pytest.mark.django_db
class TestCommand:
    def test_the_file_is_what_standard_error_vouches_for(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        UsageRecordFactory.create_batch(2)
        UsageRecordFactory.create(charge_currency="EUR")
        out = tmp_path / "usage.csv"
        call_command("export_usage", *OCTOBER, "--out", str(out))
        assert len(_parse(out.read_bytes())) == 3
        assert capsys.readouterr().err.splitlines() == [
            "rows 3",
            "tokens 360",
            "cost 0.00135 USD",
            "charge 0.00054 EUR",
            "charge 0.00108 USD",
            f"sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}",
        ]
        assert list(tmp_path.iterdir()) == [out]

    def test_without_out_the_bytes_go_to_standard_output(
        self, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        UsageRecordFactory.create(user="Zoë")
        call_command("export_usage", *OCTOBER)
        captured = capfdbinary.readouterr()
        assert captured.out.startswith(HEADER.encode() + b"\r\n")
        assert "Zoë".encode() in captured.out
        assert hashlib.sha256(captured.out).hexdigest().encode() in captured.err

    def test_from_is_inclusive_and_to_is_exclusive(self) -> None:
        for day, hour in ((30, 23), (1, 0), (31, 23)):
            month = 9 if day == 30 else 10
            UsageRecordFactory.create(
                started_at=datetime.datetime(2026, month, day, hour, tzinfo=datetime.UTC)
            )
        UsageRecordFactory.create(started_at=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC))
        assert len(self._rows(*OCTOBER)) == 2
        assert len(self._rows("--from", "2026-10-01T01:00:00+01:00", "--to", "2026-10-02")) == 1

    def test_an_empty_period_is_a_header_alone(self) -> None:
        assert self._rows(*OCTOBER) == []

    def test_a_tenants_own_export_has_its_records_and_no_cost(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        UsageRecordFactory.create(tenant="acme")
        UsageRecordFactory.create(tenant="globex")
        rows = self._rows(*OCTOBER, "--tenant", "acme")
        assert [(row["tenant"], row["cost"]) for row in rows] == [("acme", "")]
        assert "cost" not in capsys.readouterr().err

    def test_by_gives_a_row_for_each_key(self, capsys: pytest.CaptureFixture[str]) -> None:
        UsageRecordFactory.create_batch(2, labels={"team": "search", "env": "prod"})
        UsageRecordFactory.create()
        rows = self._rows(*OCTOBER, "--by", "label")
        assert [(row["key"], row["tenant"], row["requests"], row["cost"]) for row in rows] == [
            ("env=prod", "acme", "2", "0.0009"),
            ("team=search", "acme", "2", "0.0009"),
        ]
        assert rows[0]["latency_ms_p95"] == "812.5"
        printed = capsys.readouterr().err.splitlines()
        assert printed[:4] == ["rows 2", "tokens 360", "cost 0.00135 USD", "charge 0.00162 USD"]

    def test_by_for_a_tenant_names_it_and_keeps_cost_out(self) -> None:
        UsageRecordFactory.create()
        (row,) = self._rows(*OCTOBER, "--by", "model", "--tenant", "acme")
        assert (row["key"], row["tenant"], row["cost"], row["charge"]) == (
            "gpt-4o",
            "acme",
            "",
            "0.00054",
        )

    def test_by_goes_with_json_lines_too(self) -> None:
        UsageRecordFactory.create()
        line = json.loads(self._run(*OCTOBER, "--by", "model", "--format", "jsonl"))
        assert tuple(line) == exports.SUMMARY_COLUMNS
        assert line["charge"] == "0.00054"

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--from", "yesterday", "--to", "2026-11-01"], "--from: 'yesterday' is neither"),
            (["--from", "2026-10-01", "--to", "2026-13-01"], "--to: '2026-13-01' is neither"),
            (["--from", "2026-10-01", "--to", "2026-10-01"], "--from must be before --to"),
            ([*OCTOBER, "--tenant", "nobody"], "--tenant: there is no tenant 'nobody'"),
            ([*OCTOBER, "--format", "xml"], "--format"),
            ([*OCTOBER, "--by", "model", "--format", "focus"], "--by gives csv or jsonl"),
        ],
    )
    def test_an_option_that_is_wrong_is_named(self, arguments: list[str], complaint: str) -> None:
        with pytest.raises(CommandError, match=complaint):
            call_command("export_usage", *arguments)

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"--out .*/nowhere/usage.csv: No such file"):
            call_command("export_usage", *OCTOBER, "--out", str(tmp_path / "nowhere" / "usage.csv"))

    def test_a_failed_export_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        TenantFactory.create()
        out = tmp_path / "usage.csv"
        out.write_text("the old one")

        def fail(*_: Any) -> bytes:
            raise RuntimeError("halfway")

        monkeypatch.setattr("billing.management.commands.export_usage.pages_of", fail)
        with pytest.raises(RuntimeError, match="halfway"):
            call_command("export_usage", *OCTOBER, "--out", str(out))
        assert [file.read_text() for file in tmp_path.iterdir()] == ["the old one"]

    def _run(self, *arguments: str) -> str:
        written = io.StringIO(newline="")
        call_command("export_usage", *arguments, stdout=written)
        return written.getvalue()

    def _rows(self, *arguments: str) -> list[Line]:
        return _parse(self._run(*arguments).encode())
