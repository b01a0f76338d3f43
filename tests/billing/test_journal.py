"""The journal: what was said of a request survives its worker, and reaches the ledger once."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import journal
from billing.journal import Journal, Segment, entries_of, recover
from billing.models import Attempt, UsageRecord
from billing.records import Entry
from gateway_project.env import BASE_DIR
from tests.billing.rows import NOON, attempt, record


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def _files(spool: Path) -> list[Path]:
    return sorted(spool.iterdir())


def _orphan(spool: Path, *lines: Entry | bytes, name: str = "1-dead") -> Path:
    """A segment of a worker that is no more."""
    spool.mkdir(exist_ok=True)
    path = spool / f"{name}.journal"
    path.write_bytes(b"".join(_line(line) for line in lines))
    return path


def _line(entry: Entry | bytes) -> bytes:
    return entry if isinstance(entry, bytes) else msgspec.json.encode(entry) + b"\n"


def _recovered(spool: Path) -> list[Entry]:
    found: list[Entry] = []
    recover(spool, found.extend)
    return found


def _in_ledger(spool: Path) -> int:
    from billing import ledger

    return recover(spool, lambda entries: ledger.write(entries, {}, now=NOON))


# ---- the last word


ADMITTED = Entry(False, record(1, outcome="interrupted", status=0))
AMENDED = Entry(False, record(1, outcome="interrupted", provider="second"), [attempt(1)])
SETTLED = Entry(True, record(1, charge=7), [attempt(1), attempt(1, 2)])
OTHER = Entry(True, record(2, charge=9))
COPIED = Entry(True, SETTLED.record, [*SETTLED.attempts, attempt(1, 3, role="mirror", cost=5)])
COPY_SETTLED = Entry(
    True, SETTLED.record, [*SETTLED.attempts, attempt(1, 3, role="mirror", cost=2)]
)


@pytest.mark.parametrize(
    ("lines", "last_words"),
    [
        ([], []),
        ([ADMITTED], [ADMITTED]),
        ([ADMITTED, AMENDED], [AMENDED]),
        ([ADMITTED, SETTLED], [SETTLED]),
        ([ADMITTED, AMENDED, SETTLED], [SETTLED]),
        ([SETTLED, ADMITTED], [SETTLED]),
        ([SETTLED, Entry(True, record(1, charge=8))], [SETTLED]),
        ([SETTLED, COPIED], [COPIED]),
        ([SETTLED, COPIED, COPY_SETTLED], [COPY_SETTLED]),
        ([ADMITTED, OTHER, SETTLED], [SETTLED, OTHER]),
        ([ADMITTED, _line(SETTLED)[:-2]], [ADMITTED]),
        ([ADMITTED, _line(SETTLED)[:-1]], [SETTLED]),  # whole but for its line end
        ([b"\0\0\0\0\n", ADMITTED], [ADMITTED]),
        ([ADMITTED, b'[true,["\xff\xfe"', b"\n", OTHER], [ADMITTED, OTHER]),
        ([ADMITTED, b"[]\n", b"{}\n", b'[true,["x"]]\n', b"\n"], [ADMITTED]),
    ],
)
def test_the_last_word_on_each_request_counts(
    spool: Path, lines: list[Entry | bytes], last_words: list[Entry]
) -> None:
    assert entries_of(_orphan(spool, *lines)) == last_words


@given(st.data())
@settings(max_examples=200)
def test_a_file_that_is_cut_anywhere_holds_all_that_was_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = [_line(entry) for entry in (ADMITTED, OTHER, AMENDED, SETTLED)]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.getbasetemp() / "cut.journal"
    path.write_bytes(whole[:cut])
    ends = [len(b"".join(lines[: n + 1])) - 1 for n in range(len(lines))]  # without the line end
    said = [
        entry
        for entry, end in zip((ADMITTED, OTHER, AMENDED, SETTLED), ends, strict=True)
        if end <= cut
    ]
    expected = {entry.record.record_id: entry for entry in said}
    assert {entry.record.record_id: entry for entry in entries_of(path)} == expected


def test_a_record_is_read_as_it_was_written(spool: Path) -> None:
    entry = Entry(True, record(1, user="Ada\n\u2028\x00🦁", charge=2**62), [attempt(1)])
    assert entries_of(_orphan(spool, entry)) == [entry]


# ---- a worker's own journal


def test_a_line_is_on_its_way_to_the_disk_when_the_call_returns(spool: Path) -> None:
    ours = Journal(spool)
    segment = ours.admit(ADMITTED.record, [])
    assert entries_of(segment.path) == [ADMITTED]
    ours.amend(segment, AMENDED.record, AMENDED.attempts)
    assert entries_of(segment.path) == [AMENDED]
    ours.settle(segment, SETTLED)
    assert entries_of(segment.path) == [SETTLED]


def test_only_the_worker_may_read_its_journal(spool: Path) -> None:
    segment = Journal(spool).admit(ADMITTED.record, [])
    assert spool.stat().st_mode & 0o777 == 0o700
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_a_full_segment_is_followed_by_a_new_one_and_goes_when_it_is_committed(spool: Path) -> None:
    ours = Journal(spool, segment_bytes=1)
    first = ours.admit(record(1), [])
    second = ours.admit(record(2), [])
    third = ours.admit(record(3), [])
    assert len({first.path, second.path, third.path}) == 3
    assert _files(spool) == sorted([first.path, second.path, third.path])
    ours.settle(first, Entry(True, record(1)))  # beside its admission, however late
    assert entries_of(first.path) == [Entry(True, record(1))]
    ours.committed([second])
    assert _files(spool) == sorted([first.path, third.path])
    ours.committed([first])
    ours.committed([third])
    assert _files(spool) == [third.path], "the current segment stays, for what is to come"


def test_a_segment_stays_until_the_last_of_its_requests_is_committed(spool: Path) -> None:
    ours = Journal(spool, segment_bytes=1_000_000)
    segments = [ours.admit(record(n), []) for n in range(3)]
    ours.segment_bytes = 1
    ours.admit(record(9), [])
    ours.committed(segments[:1])
    ours.committed(segments[1:2])
    assert segments[0].path.exists()
    ours.committed(segments[2:])
    assert not segments[0].path.exists()


def test_a_full_segment_with_nothing_open_goes_at_once(spool: Path) -> None:
    ours = Journal(spool, segment_bytes=1)
    first = ours.admit(record(1), [])
    ours.committed([first])
    second = ours.admit(record(2), [])
    assert _files(spool) == [second.path]


def test_closing_leaves_nothing_where_nothing_is_open(spool: Path) -> None:
    ours = Journal(spool)
    ours.committed([ours.admit(record(1), [])])
    ours.close()
    assert _files(spool) == []


def test_closing_leaves_to_recovery_what_is_open(spool: Path) -> None:
    ours = Journal(spool)
    ours.admit(ADMITTED.record, [])
    ours.close()
    assert _recovered(spool) == [ADMITTED]
    assert _files(spool) == []


class _Work:
    """Requests in every state, and what must be found of them if the worker died now."""

    def __init__(self, spool: Path, segment_bytes: int) -> None:
        self.journal = Journal(spool, segment_bytes=segment_bytes)
        self.last: dict[str, Entry] = {}
        self.segments: dict[str, Segment] = {}
        self.number = 0

    def admit(self) -> None:
        self.number += 1
        admitted = Entry(False, record(self.number, outcome="interrupted"))
        identity = admitted.record.record_id
        self.segments[identity] = self.journal.admit(admitted.record, [])
        self.last[identity] = admitted

    def amend(self, identity: str) -> None:
        held = self.last[identity]
        if not held.settled:
            amended = msgspec.structs.replace(held.record, provider=held.record.provider + "x")
            self.journal.amend(self.segments[identity], amended, [attempt()])
            self.last[identity] = Entry(False, amended, [attempt()])

    def settle(self, identity: str) -> None:
        if not self.last[identity].settled:
            self.last[identity] = Entry(True, msgspec.structs.replace(self.last[identity].record))
            self.journal.settle(self.segments[identity], self.last[identity])

    def commit(self, identity: str) -> None:
        if self.last[identity].settled:
            self.journal.committed([self.segments.pop(identity)])
            del self.last[identity]


@given(
    st.sampled_from([1, 900, 10**6]),
    st.lists(st.tuples(st.sampled_from(["admit", "amend", "settle", "commit"]), st.integers(0))),
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_worker_did_its_last_words_are_there(
    tmp_path_factory: pytest.TempPathFactory, segment_bytes: int, steps: list[tuple[str, int]]
) -> None:
    spool = tmp_path_factory.mktemp("spool")
    work = _Work(spool, segment_bytes)
    for name, which in steps:
        if name == "admit":
            work.admit()
        elif work.last:
            getattr(work, name)(list(work.last)[which % len(work.last)])
    found = {entry.record.record_id: entry for path in _files(spool) for entry in entries_of(path)}
    assert {identity: found.get(identity) for identity in work.last} == work.last
    for identity in list(work.last):
        work.settle(identity)
        work.commit(identity)
    assert _files(spool) == [work.journal.current.path]
    work.journal.close()
    assert _files(spool) == []


# ---- recovery


def test_what_dead_workers_left_is_written_once_and_deleted(spool: Path) -> None:
    _orphan(spool, ADMITTED, SETTLED, name="1-a")
    _orphan(spool, OTHER, Entry(False, record(3)), name="2-b")
    assert _recovered(spool) == [SETTLED, OTHER, Entry(False, record(3))]
    assert _recovered(spool) == []
    assert _files(spool) == []


def test_what_is_not_a_segment_is_left_alone(spool: Path) -> None:
    _orphan(spool, ADMITTED)
    (spool / "notes.txt").write_text("not ours")
    assert len(_recovered(spool)) == 1
    assert _files(spool) == [spool / "notes.txt"]


def test_a_folder_that_is_not_there_holds_nothing(spool: Path) -> None:
    assert _recovered(spool) == []


def test_what_cannot_be_written_stays_for_the_next_time(spool: Path) -> None:
    path = _orphan(spool, SETTLED)

    def fail(entries: list[Entry]) -> None:
        raise ConnectionError("the database is away")

    with pytest.raises(ConnectionError):
        recover(spool, fail)
    assert path.exists()
    assert _recovered(spool) == [SETTLED]


def test_our_own_segment_is_not_recovered_while_we_live(spool: Path) -> None:
    ours = Journal(spool)
    ours.admit(ADMITTED.record, [])
    assert _recovered(spool) == []
    assert ours.current.path.exists()


def test_two_recoveries_at_once_write_each_request_once(spool: Path) -> None:
    for n in range(20):
        _orphan(spool, Entry(True, record(n)), name=f"{n:02d}-dead")
    together = threading.Barrier(3)
    written: list[Entry] = []

    def run() -> int:
        together.wait()
        return recover(spool, written.extend)

    with ThreadPoolExecutor(3) as threads:
        found = [run.result() for run in [threads.submit(run) for _ in range(3)]]
    assert sum(found) == 20
    ids = [entry.record.record_id for entry in written]
    assert sorted(ids) == sorted(record(n).record_id for n in range(20))
    assert _files(spool) == []


def test_a_segment_that_another_recovery_has_just_written_is_not_written_again(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = _orphan(spool, SETTLED), fcntl.flock

    def too_late(file: int, operation: int) -> None:
        path.unlink()
        flock(file, operation)

    monkeypatch.setattr(journal.fcntl, "flock", too_late)
    assert _recovered(spool) == []


@pytest.mark.parametrize("moment", ["before it is locked", "while it is locked"])
def test_a_segment_that_a_recovery_takes_at_birth_is_given_up(
    spool: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Between its creation and its lock a segment looks like an orphan's."""
    flock = fcntl.flock
    with_lock: list[int] = []

    def race(file: int, operation: int) -> None:
        monkeypatch.setattr(journal.fcntl, "flock", flock)
        if moment == "before it is locked":
            assert recover(spool, lambda entries: None) == 0
        else:
            with_lock.append(os.open(_files(spool)[0], os.O_RDWR))
            flock(with_lock[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        flock(file, operation)

    monkeypatch.setattr(journal.fcntl, "flock", race)
    ours = Journal(spool)
    segment = ours.admit(ADMITTED.record, [])
    assert segment.path.exists()
    assert entries_of(segment.path) == [ADMITTED]
    for file in with_lock:
        os.close(file)
    ours.close()
    assert _recovered(spool) == [ADMITTED]


@pytest.mark.django_db
def test_recovery_settles_in_the_ledger_what_was_never_settled(spool: Path) -> None:
    _orphan(spool, ADMITTED, AMENDED, OTHER)
    assert _in_ledger(spool) == 2
    interrupted = UsageRecord.objects.get(record_id=ADMITTED.record.record_id)
    assert (interrupted.outcome, interrupted.provider) == ("interrupted", "second")
    assert Attempt.objects.count() == 1


@pytest.mark.django_db
def test_a_journal_that_is_recovered_twice_counts_once(spool: Path, tmp_path: Path) -> None:
    path = _orphan(spool, ADMITTED, SETTLED, OTHER)
    shutil.copy(path, tmp_path / "copy")
    _in_ledger(spool)
    before = list(UsageRecord.objects.order_by("record_id").values())
    (tmp_path / "copy").rename(path)
    assert _in_ledger(spool) == 2
    assert list(UsageRecord.objects.order_by("record_id").values()) == before
    assert Attempt.objects.count() == 2


# ---- other processes

WORKER = """
import json, sys
from pathlib import Path
from billing.journal import Journal
from tests.billing.rows import attempt, record
journal = Journal(Path(sys.argv[1]), segment_bytes=1)
segments = [journal.admit(record(n, outcome="interrupted"), []) for n in (1, 2, 3)]
from billing.records import Entry
journal.settle(segments[1], Entry(True, record(2, charge=7)))
print("ready", flush=True)
sys.stdin.read()
"""

FULL_DISK = """
import json, resource, sys
from pathlib import Path
from billing.journal import Journal
from billing.records import Entry
from tests.billing.rows import record
limit, unlimited = int(sys.argv[2]), resource.RLIM_INFINITY
journal, segments = Journal(Path(sys.argv[1])), []
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited))
try:
    while True:
        segments.append(journal.admit(record(len(segments)), []))
except OSError as error:
    refused = str(error)
size = journal.current.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
journal.settle(segments[0], Entry(True, record(0, charge=7)))
print(json.dumps({"admitted": len(segments), "refused": refused, "size": size}))
"""


def _python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


@contextmanager
def _worker(spool: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has three requests under way, one of them settled."""
    process = subprocess.Popen(
        _python(WORKER, str(spool)),
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_living_workers_segments_are_left_alone_and_a_dead_ones_are_not(spool: Path) -> None:
    with _worker(spool) as living:
        before = {path: path.read_bytes() for path in _files(spool)}
        assert len(before) == 3
        assert _recovered(spool) == []
        with _worker(spool) as dead:
            dead.kill()
            dead.wait()
            found = {entry.record.record_id: entry for entry in _recovered(spool)}
        assert len(found) == 3
        assert found[record(2).record_id] == Entry(True, record(2, charge=7))
        assert found[record(1).record_id] == Entry(False, record(1, outcome="interrupted"))
        assert {path: path.read_bytes() for path in _files(spool)} == before
        assert living.poll() is None
    assert len(_recovered(spool)) == 3
    assert _files(spool) == []


@pytest.mark.parametrize("limit", [1_000, 4_096, 5_001])
def test_a_full_disk_refuses_what_is_new_and_spoils_nothing(spool: Path, limit: int) -> None:
    done = subprocess.run(
        _python(FULL_DISK, str(spool), str(limit)),
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    [path] = _files(spool)
    lines = path.read_bytes().splitlines(keepends=True)
    assert told["admitted"] == len(lines) - 1 > 0
    assert told["size"] == len(b"".join(lines[:-1])) <= limit
    assert told["refused"]
    assert all(line.endswith(b"\n") and msgspec.json.decode(line, type=Entry) for line in lines)
    expected = [Entry(True, record(0, charge=7))]
    expected += [Entry(False, record(n)) for n in range(1, told["admitted"])]
    assert _recovered(spool) == expected
