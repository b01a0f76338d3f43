"""Who asks: a key, a token of a tenant's own issuer, or the holder of a shared secret who signed.

A token is judged at once where its keys are at hand. A signature can only be judged with the body,
which is read for a signer that exists, and then once.
"""

import asyncio
from dataclasses import dataclass

from proxy.authenticate import Authenticator, Caller, find_tokens, read_token
from proxy.body import Receive, check_head, read_body
from proxy.errors import StoreUnavailable, Unauthenticated
from proxy.exchange import Exchange
from proxy.issuers import KeysWanted
from proxy.signers import Header, Replays, Signature, find_signer, named_signer
from tenants.key_sets import KeysUnavailable


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that names its signer, `tenant/name`."""

    signer: str
    headers: list[Header]


Credential = str | Signed


def read_credential(query: bytes, headers: list[Header]) -> Credential:
    """The one credential of a request: a token, or a signature. Raises Unauthenticated for none, or
    two that disagree."""
    signer = named_signer(query, headers)
    if signer is None:
        return read_token(headers)
    if find_tokens(headers):
        raise Unauthenticated("a signer and another credential")
    return Signed(signer, headers)


class Identifier:
    """One per worker: what has been verified, and which signatures were used."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._replays = Replays()

    async def identify(
        self, credential: Credential, exchange: Exchange, receive: Receive | None
    ) -> Caller:
        """The Caller, of a suspended tenant too. Without `receive` there is no body, and nothing
        that could be signed. Raises GatewayError, or CallerGone."""
        if isinstance(credential, Signed):
            return await self._by_signature(credential, exchange, receive)
        try:
            return self._authenticator.authenticate(credential, exchange.snapshot)
        except KeysWanted as wanted:
            await self._fetch(wanted)
        return self._authenticator.authenticate(credential, exchange.snapshot)

    async def _fetch(self, wanted: KeysWanted) -> None:
        """Those that cannot be had do not matter while others can."""
        key_sets = self._authenticator.key_sets
        fetches = [key_sets.fetch(one, lacking=keys) for one, keys in wanted.sources.items()]
        failures = await asyncio.gather(*fetches, return_exceptions=True)
        if all(isinstance(failure, KeysUnavailable) for failure in failures):
            raise StoreUnavailable("The issuer's keys cannot be fetched now.", retry_after=5)

    async def _by_signature(
        self, credential: Signed, exchange: Exchange, receive: Receive | None
    ) -> Caller:
        signer = find_signer(credential.signer, exchange.snapshot)
        signature = Signature(signer, credential.headers)
        if not exchange.body_is_read:
            if receive is None:
                raise Unauthenticated("a signer where there is no body")
            limit = exchange.snapshot.routing.max_request_bytes
            check_head(exchange.headers, limit)
            exchange.raw = await read_body(receive, limit)
            exchange.body_is_read = True
        signature.check(exchange.raw)
        if signature.timestamp and exchange.caller is None:  # else it is this request's own
            self._replays.take(signature)
        return self._authenticator.caller_of_signer(signer, exchange.snapshot)
