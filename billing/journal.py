"""Journals: what keeps usage records through the death of a process.

Each worker appends to segment files of its own. A line is written before the upstream is called
and again when the request is settled; both are in the operating system's hands when the call
returns, so they survive `kill -9`. A segment is deleted once everything in it is in the database.
The lock that a worker holds on its segments tells the living from the dead: a segment that nobody
locks is an orphan, and recovery writes what it holds.
"""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from billing.records import AttemptRow, Entry, Record

SEGMENT_BYTES = 8_000_000
_SUFFIX = ".journal"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def _claim(folder: Path) -> tuple[Path, int]:
    """A new file that nobody else has locked. Until it is locked it looks like an orphan: when a
    recovery was quicker, it deletes that file, and another one is made."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
        file = os.open(path, flags, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                return path, file
        os.close(file)


def line_of(entry: Entry) -> bytes:
    """An entry as a journal holds it, without the end of the line."""
    return _encode(entry)


class Segment:
    """One file, open for appending and locked by its worker."""

    def __init__(self, folder: Path) -> None:
        self.path, self.file = _claim(folder)
        self.size = 0
        self.open_requests = 0
        """Requests with a line here that are not in the database yet."""

    def append(self, line: bytes) -> None:
        """Raises OSError (a full disk); a line cut short is undone."""
        written = os.write(self.file, line)
        if written != len(line):
            os.ftruncate(self.file, self.size)
            raise OSError(f"wrote {written} of {len(line)} bytes to the journal")
        self.size += written

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.file)


class Journal:
    """One worker's journal. Not thread-safe: it belongs to the event loop."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.current = Segment(folder)

    def _roll(self) -> None:
        if self.current.size >= self.segment_bytes:
            full, self.current = self.current, Segment(self.folder)
            if full.open_requests == 0:
                full.discard()

    def admit(self, record: Record, attempts: list[AttemptRow]) -> Segment:
        """Writes what the record would be if this worker died now. Raises OSError."""
        self._roll()
        segment = self.current
        segment.append(_encode(Entry(False, record, attempts)) + b"\n")
        segment.open_requests += 1
        return segment

    def add(self, entry: Entry) -> tuple[Segment, bytes]:
        """Writes what follows a settled request, as if its worker died now; returns where, and the
        line. Raises OSError."""
        self._roll()
        segment, line = self.current, line_of(entry)
        segment.append(line + b"\n")
        segment.open_requests += 1
        return segment, line

    def amend(self, segment: Segment, record: Record, attempts: list[AttemptRow]) -> None:
        """Replaces what `admit` wrote, while the request goes on (another target is tried)."""
        segment.append(_encode(Entry(False, record, attempts)) + b"\n")

    def settle(self, segment: Segment, entry: Entry) -> bytes:
        """Writes the final record beside its admission; returns the line. Raises OSError."""
        line = line_of(entry)
        segment.append(line + b"\n")
        return line

    def committed(self, segments: list[Segment]) -> None:
        """The database has these requests now; segments with nothing left open go."""
        for segment in segments:
            segment.open_requests -= 1
            if segment.open_requests == 0 and segment is not self.current:
                segment.discard()

    def close(self) -> None:
        """Leaves what is still open to recovery."""
        if self.current.open_requests == 0:
            self.current.discard()
        else:
            os.close(self.current.file)


def entries_of(path: Path) -> list[Entry]:
    """The last word of a journal on each request. A last line that was cut short is left out: its
    request never got as far as what the line would have allowed."""
    entries: dict[str, Entry] = {}
    with path.open("rb") as lines:
        for line in lines:
            try:
                entry = _decode(line)
            except ValueError:  # neither JSON, nor an entry, nor even UTF-8
                continue
            held = entries.get(entry.record.record_id)
            if held is None or not held.settled or entry.mirror is not None:
                entries[entry.record.record_id] = entry
    return list(entries.values())


def _orphans(folder: Path) -> Iterator[tuple[Path, int]]:
    """Segments that nobody holds, each locked by us while the caller works on it."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                yield path, file
        except BlockingIOError:
            pass
        finally:
            os.close(file)


def has_orphans(folder: Path) -> bool:
    return next(_orphans(folder), None) is not None


def recover(folder: Path, write: Callable[[list[Entry]], bool | None]) -> int:
    """Writes what dead workers left behind, and deletes it once written; returns the requests. What
    `write` answers with False stays.

    A request that was never settled is written as its admission describes it: `interrupted`.
    Safe to run at any time, from any process.
    """
    found = 0
    for path, _ in _orphans(folder):
        entries = entries_of(path)
        if write(entries) is not False:
            path.unlink()
            found += len(entries)
    return found
