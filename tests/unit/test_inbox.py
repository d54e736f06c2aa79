"""What a site tells a consumer comes between its client's words, and costs none of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from web.live.inbox import ROOM, Inbox

pytestmark = pytest.mark.asyncio


def said(*messages: Any) -> tuple[Inbox, asyncio.Queue[Any]]:
    """An inbox, and where its client's messages are put; these are there already."""
    client: asyncio.Queue[Any] = asyncio.Queue()
    for message in messages:
        client.put_nowait(message)
    return Inbox(client.get), client


async def test_hints_and_messages_all_come_each_once() -> None:
    inbox, client = said(1, 2)
    for number in (1, 2):
        inbox.put({"hint": number})
    heard = [await inbox.receive() for _ in range(4)]
    assert [item for item in heard if isinstance(item, int)] == [1, 2]
    assert [item for item in heard if isinstance(item, dict)] == [{"hint": 1}, {"hint": 2}]

    waiting = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    inbox.put({"hint": 3})
    assert await waiting == {"hint": 3}
    client.put_nowait(3)
    assert await inbox.receive() == 3
    await inbox.close()


async def test_a_message_that_comes_while_nobody_listens_is_heard_by_the_next_who_does() -> None:
    inbox, client = said()
    listening = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    client.put_nowait("said")
    assert await inbox.receive() == "said"
    await inbox.close()


async def test_what_fails_at_the_client_fails_here_too() -> None:
    async def broken() -> Any:
        raise OSError("the line")

    inbox = Inbox(broken)
    with pytest.raises(OSError, match="the line"):
        await inbox.receive()
    await inbox.close()


async def test_a_page_that_is_busy_for_long_holds_no_more_than_its_room() -> None:
    inbox, _ = said()
    for _ in range(ROOM):
        inbox.put({})
    with pytest.raises(asyncio.QueueFull):
        inbox.put({})


async def test_closed_it_leaves_nobody_waiting_at_the_client() -> None:
    inbox, _ = said()
    listening = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await inbox.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
