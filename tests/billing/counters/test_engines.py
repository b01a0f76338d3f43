"""Counters keep their promises, whichever engine has them."""

import asyncio

import pytest

from billing.counters.asks import (
    BUCKET,
    LARGEST,
    NO_LIMIT,
    PURSE,
    SLOTS,
    Admitted,
    Ask,
    Cold,
    CountersAway,
    Hold,
    Refused,
    Short,
    State,
    tag_of,
    tenant_tag,
)
from tests.billing.counters.engines import Desk

MINUTE = 60_000


def purse(take: int, most: int = 1_000, key: str = "{t1}acme/budget") -> Ask:
    return Ask(PURSE, key, take, most)


def slots(take: int = 1, most: int = 2, key: str = "{t1}acme/slots") -> Ask:
    return Ask(SLOTS, key, take, most)


def bucket(
    take: int, most: int = 10, amount: int = 10, window: int = MINUTE, key: str = "{t1}acme/rpm"
) -> Ask:
    return Ask(BUCKET, key, take, most, amount, window)


def gateway(take: int, most: int = 1_000) -> Ask:
    return purse(take, most, "{gw}provider/budget")


def short_of(answer: object) -> list[Short]:
    assert isinstance(answer, Refused), answer
    return list(answer.short)


async def test_an_unseen_budget_is_cold_until_it_is_made_from_the_records(desk: Desk) -> None:
    assert await desk.counters.admit(desk.hold(purse(1))) == Cold([0])
    assert await desk.counters.warm(purse(1), 700, await desk.counters.held("{t1}"))
    assert await desk.counters.admit(desk.hold(purse(300))) == Admitted([1_000])


async def test_a_budget_is_never_exceeded_by_what_is_settled_and_reserved(desk: Desk) -> None:
    hold = await desk.admitted(purse(600))
    assert short_of((await desk.admit(purse(401)))[1]) == [Short(0, -1, 400)]
    assert await desk.settle(hold, 250) == [250]
    assert await desk.state(purse(0)) == (250, 0)
    assert short_of((await desk.admit(purse(751)))[1]) == [Short(0, -1, 750)]
    assert (await desk.admit(purse(750)))[1] == Admitted([1_000])


async def test_a_soft_budget_counts_and_never_refuses(desk: Desk) -> None:
    hold = await desk.admitted(purse(5_000, NO_LIMIT))
    await desk.settle(hold, 7_000)
    assert await desk.state(purse(0)) == (7_000, 0)


async def test_nothing_is_taken_of_any_counter_when_one_refuses(desk: Desk) -> None:
    asks = [gateway(10), slots(), bucket(1), purse(1_001)]
    assert short_of((await desk.admit(*asks))[1]) == [Short(3, -1, 1_000)]
    assert await desk.counters.read(asks[:2]) == [State(0, 0), State(0, 0)]
    asks[3] = purse(1_000)
    assert (await desk.admit(*asks))[1] == Admitted([10, 1, 9, 1_000])


async def test_all_counters_that_refuse_are_told(desk: Desk) -> None:
    await desk.admitted(slots(2), bucket(10), purse(900))
    short = short_of((await desk.admit(slots(), purse(100), bucket(3)))[1])
    assert short == [Short(0, -1, 0), Short(2, 18_000, 0)]


async def test_the_gateway_may_refuse_what_the_tenant_would_allow(desk: Desk) -> None:
    assert short_of((await desk.admit(purse(10), gateway(2_000)))[1]) == [Short(1, -1, 1_000)]
    await desk.warm(purse(0))
    assert await desk.state(purse(0)) == (0, 0)


async def test_the_gateway_gets_back_what_the_tenant_refuses(desk: Desk) -> None:
    await desk.admitted(purse(1), gateway(1))
    for _ in range(3):
        assert short_of((await desk.admit(gateway(700), purse(2_000)))[1]) == [Short(1, -1, 999)]
    assert await desk.state(gateway(0)) == (0, 1)


async def test_levels_come_in_the_order_of_the_asks(desk: Desk) -> None:
    hold, answer = await desk.admit(gateway(1), purse(2), slots(), gateway(3))
    assert answer == Admitted([1, 2, 1, 4]) or answer == Admitted([4, 2, 1, 4])
    hold, answer = await desk.admit(slots(), gateway(5), purse(7), bucket(3))
    assert answer == Admitted([0, 9, 9, 7])
    assert await desk.settle(hold, 0, 50, 70, 1) == [0, 50, 70, 0]


async def test_slots_are_freed_by_settling(desk: Desk) -> None:
    first = await desk.admitted(slots())
    await desk.admitted(slots())
    assert short_of((await desk.admit(slots()))[1]) == [Short(0, -1, 0)]
    await desk.settle(first, 0)
    assert (await desk.admit(slots()))[1] == Admitted([0])


async def test_a_bucket_refills_by_its_amount_in_each_window(desk: Desk) -> None:
    desk.clock.advance(MINUTE)
    await desk.admitted(bucket(10))
    assert short_of((await desk.admit(bucket(1)))[1]) == [Short(0, 6_000, 0)]
    desk.clock.advance(5_999)
    assert short_of((await desk.admit(bucket(1)))[1]) == [Short(0, 1, 0)]
    desk.clock.advance(1)
    assert (await desk.admit(bucket(1)))[1] == Admitted([0])
    desk.clock.advance(10 * MINUTE)
    assert (await desk.admit(bucket(4)))[1] == Admitted([6])


async def test_a_bucket_gets_back_what_was_not_used_and_owes_what_was_used_beyond(
    desk: Desk,
) -> None:
    desk.clock.advance(MINUTE)
    hold = await desk.admitted(bucket(10))
    assert await desk.settle(hold, 4) == [0]
    hold = await desk.admitted(bucket(6))
    assert await desk.settle(hold, 9) == [0]
    assert short_of((await desk.admit(bucket(1)))[1]) == [Short(0, 24_000, -3)]


async def test_a_bucket_is_cold_while_records_may_have_used_it(desk: Desk) -> None:
    answer = await desk.counters.admit(desk.hold(bucket(1, window=MINUTE)))
    assert answer == Cold([0])
    await desk.counters.warm(bucket(1), 4, await desk.counters.held("{t1}"))
    assert await desk.counters.admit(desk.hold(bucket(1))) == Admitted([5])
    desk.clock.advance(MINUTE)
    assert await desk.counters.admit(desk.hold(bucket(1, key="{t1}other"))) == Admitted([9])


@pytest.mark.parametrize("window", [1, 1_000, MINUTE, 3_600_000, 86_400_000])
async def test_windows_of_all_lengths_are_exact(desk: Desk, window: int) -> None:
    desk.clock.advance(window)
    ask = bucket(864, 864, 864, window)
    await desk.admitted(ask)
    desk.clock.advance(window)
    assert (await desk.admit(ask))[1] == Admitted([0])


async def test_numbers_near_the_largest_stay_exact(desk: Desk) -> None:
    whole = purse(LARGEST - 1, LARGEST)
    hold = await desk.admitted(whole)
    assert await desk.state(whole) == (0, LARGEST - 1)
    assert short_of((await desk.admit(purse(2, LARGEST)))[1]) == [Short(0, -1, 1)]
    assert await desk.settle(hold, LARGEST - 2) == [LARGEST - 2]
    assert (await desk.admit(purse(2, LARGEST)))[1] == Admitted([LARGEST])
    await desk.commit(hold)
    assert await desk.counters.warm(purse(1, LARGEST, "{t1}b"), LARGEST - 3, [])
    assert await desk.state(purse(1, LARGEST, "{t1}b")) == (LARGEST - 3, 0)


async def test_a_bucket_of_ten_thousand_million_tokens_a_day_is_exact(desk: Desk) -> None:
    day = 86_400_000
    desk.clock.advance(day)
    amount = 10_000_000_000
    await desk.admitted(bucket(amount, amount, amount, day))
    desk.clock.advance(100)
    answer = (await desk.admit(bucket(11_575, amount, amount, day)))[1]
    assert short_of(answer) == [Short(0, 100, 11_574)]
    assert (await desk.admit(bucket(11_574, amount, amount, day)))[1] == Admitted([0])


@pytest.mark.parametrize(
    "user",
    ["", "a b", 'x"\\', "{t9}", "}{", "ünïcode 🦜", "\x00\n\r", "\ud83d", "%s%.0f", "k" * 4_000],
)
async def test_users_may_be_called_anything(desk: Desk, user: str) -> None:
    ask = purse(3, key="{t1}acme/user/" + user)
    hold = await desk.admitted(ask, slots(key="{t1}slots/" + user))
    assert await desk.settle(hold, 2, 0) == [2, 0]
    assert await desk.state(ask) == (2, 0)
    other = purse(3, key="{t1}acme/user/" + user + "x")
    assert await desk.counters.admit(desk.hold(other)) == Cold([0])


async def test_a_hold_is_settled_once(desk: Desk) -> None:
    hold = await desk.admitted(purse(10))
    await desk.settle(hold, 5)
    await desk.commit(hold)
    assert await desk.counters.settle(hold, [5]) is None
    assert await desk.state(purse(0)) == (5, 0)


async def test_a_hold_that_never_was_cannot_be_settled(desk: Desk) -> None:
    assert await desk.counters.settle(Hold("00000000-0000-7000-8000-0", [purse(1)]), [1]) is None


async def test_holds_are_known_until_the_database_has_their_records(desk: Desk) -> None:
    hold = await desk.admitted(purse(10), gateway(10))
    for tag in ("{t1}", "{gw}"):
        assert hold.record_id in await desk.counters.held(tag)
    await desk.settle(hold, 5, 5)
    for tag in ("{t1}", "{gw}"):
        assert hold.record_id in await desk.counters.held(tag)
    await desk.commit(hold)
    for tag in ("{t1}", "{gw}"):
        assert hold.record_id not in await desk.counters.held(tag)


async def test_a_request_that_nothing_limits_is_a_hold_nevertheless(desk: Desk) -> None:
    hold, answer = await desk.admit()
    assert answer == Admitted([])
    assert await desk.settle(hold) == []
    await desk.commit(hold)


async def test_an_open_hold_survives_being_called_committed(desk: Desk) -> None:
    hold = await desk.admitted(purse(10))
    await desk.counters.committed([], [tag_of(purse(0).key)])
    assert await desk.settle(hold, 4) == [4]


# ---- rebuilding


async def test_a_forgotten_budget_is_made_from_records_and_holds(desk: Desk) -> None:
    committed = await desk.admitted(purse(100))
    settled = await desk.admitted(purse(100))
    await desk.admitted(purse(100))
    await desk.settle(committed, 11)
    await desk.commit(committed)
    await desk.settle(settled, 22)
    await desk.counters.forget([purse(0).key])
    assert await desk.counters.read([purse(0)]) == [None]
    await desk.warm(purse(0))
    assert await desk.state(purse(0)) == (33, 100)


async def test_what_settles_while_its_budget_is_cold_is_counted_once(desk: Desk) -> None:
    hold = await desk.admitted(purse(100))
    await desk.counters.forget([purse(0).key])
    await desk.settle(hold, 30)
    await desk.warm(purse(0))
    assert await desk.state(purse(0)) == (30, 0)


async def test_a_sum_that_missed_a_record_is_not_accepted(desk: Desk) -> None:
    hold = await desk.admitted(purse(100))
    await desk.counters.forget([purse(0).key])
    held = await desk.counters.held("{t1}")
    assert hold.record_id in held
    await desk.settle(hold, 30)
    await desk.commit(hold)
    assert not await desk.counters.warm(purse(0), 0, held)
    await desk.warm(purse(0))
    assert await desk.state(purse(0)) == (30, 0)


async def test_a_warm_budget_is_not_overwritten(desk: Desk) -> None:
    await desk.admitted(purse(100))
    assert await desk.counters.warm(purse(0), 555, await desk.counters.held("{t1}"))
    assert await desk.state(purse(0)) == (0, 100)


async def test_a_lost_bucket_is_made_from_the_window_and_the_holds(desk: Desk) -> None:
    await desk.counters.admit(desk.hold())
    open_hold = desk.hold(purse(1), bucket(3, key="{t1}old"))
    await desk.admit_hold(open_hold)
    await desk.counters.warm(bucket(0, key="{t1}new"), 4, await desk.counters.held("{t1}"))
    assert (await desk.admit(bucket(2, key="{t1}new")))[1] == Admitted([4])


# ---- another attempt


async def test_a_change_settles_a_part_and_takes_another(desk: Desk) -> None:
    first = bucket(4, key="{t1}first")
    second = bucket(4, key="{t1}second")
    desk.clock.advance(MINUTE)
    hold = await desk.admitted(purse(100), first, gateway(10))
    assert await desk.counters.change(hold, [(first, 1)], [second]) == Admitted([6])
    assert hold.asks == [purse(100), gateway(10), second]
    assert await desk.settle(hold, 50, 5, 4) == [50, 5, 0]
    assert await desk.state(first) == (1, 0)
    assert await desk.state(second) == (4, 0)


async def test_a_refused_change_leaves_the_rest_of_the_hold(desk: Desk) -> None:
    desk.clock.advance(MINUTE)
    first, second = bucket(4, key="{t1}first"), bucket(40, key="{t1}second")
    hold = await desk.admitted(purse(100), first)
    answer = await desk.counters.change(hold, [(first, 0)], [second, slots(3)])
    assert [short.place for short in short_of(answer)] == [0, 1]
    assert hold.asks == [purse(100)]
    assert await desk.state(slots()) == (0, 0)
    assert await desk.settle(hold, 1) == [1]


async def test_a_change_may_be_the_first_to_ask_the_gateway(desk: Desk) -> None:
    hold = await desk.admitted(purse(100))
    await desk.warm(gateway(0))
    answer = await desk.counters.change(hold, [], [slots(9), gateway(7)])
    assert [short.place for short in short_of(answer)] == [0]
    assert await desk.state(gateway(0)) == (0, 0)
    assert await desk.counters.change(hold, [], [slots(1), gateway(7)]) == Admitted([1, 7])
    assert await desk.settle(hold, 10, 0, 3) == [10, 0, 3]
    await desk.commit(hold)
    assert hold.record_id not in await desk.counters.held("{gw}")


async def test_what_a_change_settled_is_counted_when_a_budget_is_rebuilt(desk: Desk) -> None:
    part = purse(50, key="{t1}part")
    hold = await desk.admitted(purse(100), part)
    await desk.counters.change(hold, [(part, 20)], [])
    await desk.settle(hold, 60)
    desk.records[hold.record_id] = desk._settled.pop(hold.record_id)
    desk.records[hold.record_id][part.key] = 20
    await desk.counters.forget([part.key])
    await desk.warm(part)
    assert await desk.state(part) == (20, 0)


async def test_of_two_equal_parts_of_a_hold_the_one_that_is_given_up_goes(desk: Desk) -> None:
    desk.clock.advance(MINUTE)
    first, beside = [slots(), bucket(4)], [slots(), bucket(4)]
    hold = await desk.admitted(purse(100), *first, gateway(10))
    assert isinstance(await desk.counters.change(hold, [], beside), Admitted)
    assert (await desk.state(slots()), await desk.state(bucket(0))) == ((2, 0), (8, 0))
    await desk.counters.change(hold, [(beside[0], 1), (beside[1], 2)], [])
    assert hold.asks == [purse(100), *first, gateway(10)]
    assert (await desk.state(slots()), await desk.state(bucket(0))) == ((1, 0), (6, 0))
    assert await desk.settle(hold, 50, 1, 3, 7) == [50, 0, 0, 7]
    assert (await desk.state(slots()), await desk.state(bucket(0))) == ((0, 0), (5, 0))
    assert await desk.state(purse(0)) == (50, 0)
    assert await desk.state(gateway(0)) == (7, 0)


async def test_the_first_of_two_equal_parts_may_be_the_one_to_go(desk: Desk) -> None:
    first, beside = slots(), slots()
    hold = await desk.admitted(first, purse(100))
    assert isinstance(await desk.counters.change(hold, [], [beside]), Admitted)
    await desk.counters.change(hold, [(first, 1)], [])
    assert hold.asks == [purse(100), beside]
    assert await desk.state(slots()) == (1, 0)
    assert await desk.settle(hold, 30, 1) == [30, 0]
    assert await desk.state(slots()) == (0, 0)


# ---- many at once


async def test_a_crowd_takes_exactly_what_there_is(desk: Desk) -> None:
    await desk.warm(purse(0))
    answers = await asyncio.gather(*(desk.admit(purse(7), slots(most=1_000)) for _ in range(300)))
    admitted = [hold for hold, answer in answers if isinstance(answer, Admitted)]
    assert len(admitted) == 1_000 // 7
    await asyncio.gather(*(desk.settle(hold, 7, 0) for hold in admitted))
    assert await desk.state(purse(0)) == (994, 0)
    assert await desk.state(slots()) == (0, 0)


async def test_a_request_that_is_given_up_while_it_asks_holds_nothing(desk: Desk) -> None:
    await desk.warm(purse(0))
    for _ in range(20):
        asking = asyncio.create_task(desk.admit(purse(50)))
        await asyncio.sleep(0)
        asking.cancel()
        try:
            hold, _ = await asking
            await desk.settle(hold, 0)
        except (asyncio.CancelledError, CountersAway):
            pass
    for _ in range(100):
        if await desk.state(purse(0)) == (0, 0):
            break
        await asyncio.sleep(0.05)
    assert await desk.state(purse(0)) == (0, 0)


def test_tenants_have_one_of_few_tags() -> None:
    tags = {tenant_tag(f"tenant-{number}") for number in range(5_000)}
    assert tags == {f"{{t{number}}}" for number in range(64)}
