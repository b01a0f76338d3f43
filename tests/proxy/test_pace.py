"""How quickly a target speaks, without a gateway around it."""

import asyncio

from billing.records import AttemptRow
from proxy.chat.usage import Usage
from proxy.pace import PacedReply
from proxy.reply import Reply
from routing.choose import Target
from routing.load import Load
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
    asked.attempts = [
        AttemptRow(record_id="r", ordinal=1, started_at="", role="first", provider="p", model="m")
    ]
    load = Load()
    load.begin(asked.target.model.identity, 0.0)
    paced = PacedReply(_SlowCaller())
    await paced.write(b"a piece")
    asked.first_token, asked.answered = 10.0, 10.4
    paced.note(asked, load)
    pace = load.pace(asked.target.model.identity, asyncio.get_running_loop().time())
    assert pace is not None
    assert pace > 100 / 0.2
