"""Finding a request again: in the table, or among those that wait to be written."""

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import ledger
from billing.explain import Reader, Request, explain
from billing.records import Entry, Record
from billing.requests import MOST_OTHERS, Sight, find, named
from tests.billing.rows import NOON, attempt, record, record_id
from tests.billing.test_explain import DECISION

ACME = Sight("acme")


def entry(number: int, **fields: Any) -> Entry:
    """A settled request, one second after the one of the number before."""
    started = NOON + datetime.timedelta(seconds=number)
    at = started.isoformat(timespec="microseconds")
    return Entry(True, record(number, **{"started_at": at, **fields}), [attempt(number)])


def write(*entries: Entry) -> None:
    ledger.write(entries, {}, now=NOON)


def found(name: str, *waiting: Entry, sight: Sight = ACME) -> Request | None:
    return find(name, sight, named(name, waiting, sight))


def ids(request: Request | None) -> list[int]:
    """The numbers of a request and of the others of its request id."""
    assert request is not None
    return [
        int(name.replace("-", ""), 16) for name in (str(request.record.record_id), *request.others)
    ]


@pytest.mark.django_db
class TestAWaitingRequest:
    def test_is_told_as_it_will_be_from_the_table(self) -> None:
        one = entry(
            1,
            labels=json.dumps({"team": "search"}),
            decision=json.dumps(DECISION),
            cost=5,
            charge=7,
            reserved=9,
            cost_currency="USD",
            charge_currency="USD",
            latency_us=1500,
            first_token_us=20,
            stream=True,
        )
        waiting = found(record_id(1), one)
        assert waiting is not None
        told = explain(waiting, Reader.ADMIN)
        write(one)
        written = found(record_id(1))
        assert written is not None
        assert explain(written, Reader.ADMIN) == told
        assert told["margin"] == "0.000000002"
        assert told["attempts"][0]["model"] == "gpt-4o"

    def test_needs_no_database_when_it_is_asked_by_its_record_id(
        self, django_assert_num_queries: Any
    ) -> None:
        with django_assert_num_queries(0):
            assert ids(found(record_id(1), entry(1))) == [1]

    def test_that_is_in_the_table_already_is_one_request(self) -> None:
        one = entry(1)
        write(one)
        assert ids(found("request-1", one)) == [1]


@pytest.mark.django_db
class TestARequestId:
    def test_of_several_requests_means_the_newest_wherever_it_is(self) -> None:
        write(entry(1, request_id="same"), entry(4, request_id="same"))
        waiting = [entry(2, request_id="same"), entry(3, request_id="same")]
        assert ids(found("same", *waiting)) == [4, 3, 2, 1]
        request = found("same", *waiting)
        assert request is not None
        assert len(request.attempts) == 1

    def test_of_very_many_names_only_some_of_the_others(self) -> None:
        write(*[entry(number, request_id="same") for number in range(1, MOST_OTHERS + 9)])
        numbers = ids(found("same"))
        newest = MOST_OTHERS + 8
        assert numbers == list(range(newest, newest - MOST_OTHERS - 1, -1))

    def test_that_looks_like_a_record_id_is_tried_as_one_first(self) -> None:
        write(entry(1), entry(2, request_id=record_id(1)), entry(3, request_id=record_id(9)))
        assert ids(found(record_id(1))) == [1]
        assert ids(found(record_id(9))) == [3]

    def test_of_nobody_finds_nothing(self) -> None:
        write(entry(1))
        assert found("request-2") is None
        assert found(record_id(2)) is None


@pytest.mark.django_db
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("name", ["request-1", record_id(1)])
@pytest.mark.parametrize(
    ("sight", "sees"),
    [
        (Sight("acme"), True),
        (Sight("globex"), False),
        (Sight("acme", "key-1"), True),
        (Sight("acme", "key-2"), False),
        (Sight("acme", "key-1", "ada"), True),
        (Sight("acme", "key-1", "bob"), False),
        (Sight("globex", "key-1", "ada"), False),
        (Sight("acme", "key-1", ""), False),
    ],
)
def test_a_request_is_seen_by_whom_it_concerns(
    waits: bool, name: str, sight: Sight, sees: bool
) -> None:
    one = entry(1, key_id="key-1", user="ada")
    if not waits:
        write(one)
    assert (found(name, *([one] if waits else []), sight=sight) is not None) is sees


tenants = st.sampled_from(["acme", "globex"])
records = st.builds(
    record,
    number=st.integers(1, 5),
    tenant=tenants,
    request_id=st.sampled_from(["same", "request-2", record_id(3)]),
    key_id=st.sampled_from(["key-1", "key-2"]),
    user=st.sampled_from(["", "ada", "bob"]),
)


@pytest.mark.once
@given(
    st.lists(records, max_size=8),
    st.builds(Sight, tenants, st.sampled_from(["", "key-1"]), st.sampled_from(["", "ada"])),
    st.sampled_from(["same", "request-2", *(record_id(number) for number in range(1, 6))]),
)
def test_nothing_of_another_tenant_key_or_user_is_ever_named(
    held: list[Record], sight: Sight, name: str
) -> None:
    for one in named(name, [Entry(True, held_one) for held_one in held], sight):
        assert one.record.tenant == sight.tenant
        assert name in (one.record.record_id, one.record.request_id)
        assert not sight.key_id or one.record.key_id == sight.key_id
        assert not sight.user or one.record.user == sight.user
