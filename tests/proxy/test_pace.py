"""How quickly a target speaks, without a gateway around it."""

import asyncio
import time

import pytest

from proxy.chat.usage import Usage
from proxy.pace import PacedReply
from proxy.reply import Reply
from routing.choose import Target
from routing.load import Load
from tests.billing.rows import attempt
from tests.proxy.asking import exchange, model


class _SlowCaller(Reply):
    def __init__(self) -> None:
        pass

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0.3)


async def test_a_caller_who_reads_slowly_makes_no_target_slow() -> None:
    asked = exchange("/chat/pro", {"messages": []}, stream=True)
    asked.target = Target(model(), None)
    asked.usage = Usage(output=100)
    asked.attempts = [attempt(status=200)]
    load = Load()
    load.begin(asked.target.model.identity, 0.0)
    paced = PacedReply(_SlowCaller())
    await paced.write(b"a piece")
    asked.first_token, asked.answered = 10.0, 10.4
    paced.note(asked, load)
    pace = load.pace(asked.target.model.identity, asyncio.get_running_loop().time())
    assert pace is not None
    assert pace > 100 / 0.2


def test_the_pace_of_a_race_is_that_of_who_answered() -> None:
    asked = exchange("/chat/pro", {"messages": []})
    asked.target, asked.usage = Target(model(), None), Usage(output=100)
    asked.attempts = [
        attempt(1, 1, status=500, error_kind="server_error", latency_us=50_000),
        attempt(1, 2, status=200, latency_us=10_000_000),
        attempt(1, 3, role="hedge", error_kind="lost", latency_us=1_000_000),
    ]
    load = Load()
    load.begin(asked.target.model.identity, 0.0)
    PacedReply(_SlowCaller()).note(asked, load)
    assert load.pace(asked.target.model.identity, time.perf_counter()) == pytest.approx(10)
