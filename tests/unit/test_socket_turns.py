"""Sockets read in turn, user by user."""

from __future__ import annotations

import asyncio
import threading

import pytest

from web.live.turns import Turns

pytestmark = pytest.mark.asyncio


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_next_user_comes_before_the_second_question_of_the_first() -> None:
    turns = Turns("test", threads=1, of_one=1)
    gate, order = threading.Event(), []
    first = asyncio.ensure_future(turns.run("a", gate.wait))
    await settled()
    others = [asyncio.ensure_future(turns.run(user, order.append, user)) for user in "aaaabbc"]
    await settled()
    gate.set()
    await asyncio.gather(first, *others)
    assert "".join(order) == "abcabaa"


async def test_one_user_never_holds_every_thread() -> None:
    turns = Turns("test", threads=3, of_one=2)
    gate = threading.Event()
    many = [asyncio.ensure_future(turns.run("a", gate.wait)) for _ in range(10)]
    await settled()
    # It would wait for ever behind the others.
    assert await asyncio.wait_for(turns.run("b", lambda: "there"), 30) == "there"
    gate.set()
    await asyncio.gather(*many)


async def test_a_question_that_nobody_waits_for_any_more_leaves_its_place() -> None:
    turns = Turns("test", threads=1, of_one=1)
    gate = threading.Event()
    first = asyncio.ensure_future(turns.run("a", gate.wait))
    await settled()
    gone = [asyncio.ensure_future(turns.run(user, gate.wait)) for user in "ab"]
    await settled()
    for one in gone:
        one.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    gate.set()
    await first
    # Also one that was given its turn in the moment in which it was cancelled.
    late = asyncio.ensure_future(turns.run("a", gate.wait))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert await asyncio.wait_for(turns.run("c", lambda: "there"), 30) == "there"


async def test_what_a_question_raises_comes_to_who_asked_and_the_place_is_free() -> None:
    turns = Turns("test", threads=1, of_one=1)

    def broken() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await turns.run("a", broken)
