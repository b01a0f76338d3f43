"""The keys of every issuer, remembered by one worker; those behind a URL are fetched.

    age of what is remembered        a request that needs it
    below REFRESH                    takes it
    below TTL                        takes it; a fetch starts beside it
    above TTL                        waits for a fetch; while the URL is away, takes what is there
    above LONGEST_STALE              is refused until the URL answers

All who wait share one fetch. An unknown `kid` may mean that the issuer has a new key: it starts one
fetch, and the next unknown one none for UNKNOWN_SECONDS, so that a flood of them costs nothing.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import httpx
import orjson
import structlog

from gateway_project.public_client import public_client
from gateway_project.public_hosts import AddressRefused
from tenants.jwks import NO_KEYS, KeySet, parse_jwks, parse_pem

log = structlog.get_logger("gateway.issuers")

TTL = 600.0
REFRESH = 480.0
LONGEST_STALE = 24 * 3600.0
UNKNOWN_SECONDS = 30.0
RETRY_SECONDS = 5.0
"""Between a fetch that failed and the next."""
FETCH_SECONDS = 5.0
LARGEST = 256_000
"""Bytes of a JWKS."""


class KeySource(NamedTuple):
    """Where an issuer's keys come from: a URL, a JWKS as JSON text, or a PEM."""

    kind: Literal["jwks_url", "jwks", "public_key"]
    text: str


class KeysUnavailable(Exception):
    """The keys behind a URL cannot be had now; the message is for operators."""


@dataclass(slots=True)
class _Remembered:
    """Times are monotonic; those that never were are long ago."""

    keys: KeySet | None = None
    document: bytes = b""
    fetched_at: float = float("-inf")
    failed_at: float = float("-inf")
    asked_at: float = float("-inf")
    """When the last fetch for an unknown `kid` began."""
    fetching: "asyncio.Task[None] | None" = None

    @property
    def is_failing(self) -> bool:
        return self.failed_at > self.fetched_at


class KeySets:
    """One per worker."""

    def __init__(self) -> None:
        self._given: dict[KeySource, KeySet] = {}
        self._fetched: dict[str, _Remembered] = {}

    def keep_only(self, sources: Iterable[KeySource]) -> None:
        """Forgets what no issuer names any more."""
        kept = set(sources)
        urls = {source.text for source in kept if source.kind == "jwks_url"}
        self._given = {source: keys for source, keys in self._given.items() if source in kept}
        self._fetched = {
            url: found
            for url, found in self._fetched.items()
            if url in urls or found.fetching is not None
        }

    def known(self, source: KeySource) -> KeySet | None:
        """The keys, if they are at hand; None when `fetch` must be awaited first."""
        if source.kind != "jwks_url":
            return self._given.get(source) or self._read(source)
        found = self._fetched.get(source.text)
        if found is None or found.keys is None:
            return None
        now = time.monotonic()
        age = now - found.fetched_at
        if age < REFRESH:
            return found.keys
        if age >= LONGEST_STALE or (age >= TTL and not found.is_failing):
            return None
        if now - found.failed_at >= RETRY_SECONDS:
            self._begin(source.text, found)
        return found.keys

    async def fetch(self, source: KeySource, *, lacking: KeySet | None = None) -> None:
        """Waits for a fetch, if one may begin or is under way. `lacking` is a set in which a `kid`
        is unknown. Raises KeysUnavailable when there are still no keys."""
        found = self._fetched.setdefault(source.text, _Remembered())
        if lacking is None or found.keys is lacking:
            if found.fetching is None and self._may_begin(found, lacking):
                self._begin(source.text, found)
            if found.fetching is not None:
                await asyncio.shield(found.fetching)
        if self.known(source) is None:
            raise KeysUnavailable(f"the keys at {source.text} cannot be had")

    def _read(self, source: KeySource) -> KeySet:
        """What stands in the configuration; nothing verifies by what cannot be read."""
        try:
            if source.kind == "public_key":
                keys = parse_pem(source.text)
            else:
                keys = parse_jwks(orjson.loads(source.text))
        except ValueError as error:
            log.error("an issuer's keys cannot be read", kind=source.kind, error=str(error))
            keys = NO_KEYS
        self._given[source] = keys
        return keys

    def _may_begin(self, found: _Remembered, lacking: KeySet | None) -> bool:
        now = time.monotonic()
        if now - found.failed_at < RETRY_SECONDS:
            return False
        if lacking is None:
            return True
        if now - found.asked_at < UNKNOWN_SECONDS:
            return False
        found.asked_at = now
        return True

    def _begin(self, url: str, found: _Remembered) -> None:
        if found.fetching is None:
            found.fetching = asyncio.create_task(_refresh(url, found), name="issuer-keys")


async def _refresh(url: str, found: _Remembered) -> None:
    """Fills what is remembered of a URL; what was there stays when that fails."""
    try:
        document = await _download(url)
        # The same document is the same set: tokens that were verified by it stay verified.
        if document != found.document or found.keys is None:
            found.keys, found.document = _usable(document), document
        found.fetched_at = time.monotonic()
    except Exception as error:  # noqa: BLE001  (whatever it is, it must not start anew at once)
        found.failed_at = time.monotonic()
        log.warning(
            "an issuer's keys cannot be fetched",
            url=url,
            error=str(error) if isinstance(error, KeysUnavailable) else repr(error),
            serves_last_keys=found.keys is not None,
        )
    finally:
        found.fetching = None


def _usable(document: bytes) -> KeySet:
    try:
        keys = parse_jwks(orjson.loads(document))
    except ValueError as error:
        raise KeysUnavailable(f"no JWKS: {error}") from None
    if not keys.keys:
        raise KeysUnavailable("no key in it can verify a token")
    return keys


async def _download(url: str) -> bytes:
    """The body behind a URL. Raises KeysUnavailable for whatever else there is."""
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            await public_client(timeout=FETCH_SECONDS, tls_only=True) as client,
            client.stream("GET", url, headers=_HEADERS) as answer,
        ):
            if answer.status_code != 200:
                raise KeysUnavailable(f"it answered {answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise KeysUnavailable("it answered in an encoding that was not asked for")
            body = b""
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > LARGEST:
                    raise KeysUnavailable(f"its answer is larger than {LARGEST} bytes")
            return body
    except AddressRefused as error:
        raise KeysUnavailable(str(error)) from None
    except TimeoutError:
        raise KeysUnavailable(f"it took longer than {FETCH_SECONDS:.0f} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise KeysUnavailable(f"{type(error).__name__}: {error}") from None


_HEADERS = {"accept": "application/json", "accept-encoding": "identity"}
