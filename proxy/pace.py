"""How quickly a target speaks, for aliases that want so many tokens a second."""

import time
from collections.abc import Iterable

from proxy.exchange import Exchange
from proxy.reply import Header, Reframer, Reply
from routing.load import Load


class PacedReply(Reply):
    """The caller; the time that it takes to read is not its target's."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._waited = 0.0

    async def start_stream(
        self, content_type: str, headers: Iterable[Header], reframer: Reframer | None
    ) -> None:
        await self._reply.start_stream(content_type, headers, reframer)

    async def write(self, data: bytes) -> None:
        began = time.perf_counter()
        await self._reply.write(data)
        self._waited += time.perf_counter() - began

    def note(self, exchange: Exchange, load: Load) -> None:
        """What the answer that has just ended says of its target: a stream from its first token
        on, a whole answer from its question on."""
        usage, target = exchange.usage, exchange.target
        if usage is None or target is None:
            return
        answered = (row for row in exchange.attempts if row.status == 200 and not row.error_kind)
        attempt = next(answered)  # of a race, the last is not always who answered
        spoken = attempt.latency_us / 1_000_000
        if exchange.stream:
            spoken = exchange.answered - exchange.first_token - self._waited
        load.note_pace(target.model.identity, usage.total_output, spoken, time.perf_counter())
