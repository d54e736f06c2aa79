"""The socket: snapshot, events, languages, and pushes that were lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, transaction
from django.test import Client
from django.utils.functional import SimpleLazyObject
from uvicorn.protocols.utils import ClientDisconnected

from messages.events import InferenceFailed, RunEvent
from messages.failures import FAILURE_TEXTS, FailureCode
from messages.lab import LabHeartbeat
from tests.integration.web_requests import a_run, place, take_in, written_request
from tests.site import reader_of
from web import notify
from web.labs import registry
from web.labs.heartbeats import record_heartbeat
from web.live import reading
from web.live.messages import MAX_FOLLOWED
from web.live.socket import NOT_LOGGED_IN, TRY_AGAIN_LATER, LiveSocket
from web.live.watch import check_sessions, sockets, watch

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


class Browser(ApplicationCommunicator):
    """A browser's end of the socket. Channels' own one needs daphne, which the site does not."""

    def __init__(self, user: Any, language: str = "en", session: Any = None) -> None:
        scope = {
            "type": "websocket",
            "path": "/ws/live/",
            "headers": [(b"accept-language", language.encode())],
            "user": user,
            "session": session,
        }
        self.broken = False
        super().__init__(self._served, scope)

    async def _served(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if self.broken:
                raise ClientDisconnected
            await send(message)

        await LiveSocket.as_asgi()(scope, receive, sent)

    async def connect(self) -> None:
        await self.send_input({"type": "websocket.connect"})
        assert (await self.receive_output(timeout=3))["type"] == "websocket.accept"

    async def disconnect(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.wait(timeout=3)

    async def say(self, message: dict[str, Any]) -> None:
        await self.say_raw(text=json.dumps(message))

    async def say_raw(self, **frame: str | bytes) -> None:
        await self.send_input({"type": "websocket.receive", **frame})

    async def hear(self, kind: str, within: float = 3.0) -> dict[str, Any]:
        """The next message of a kind; a page may get others in between."""
        async with asyncio.timeout(within):
            while True:
                output = await self.receive_output(timeout=10)
                message: dict[str, Any] = json.loads(output["text"])
                if message["type"] == kind:
                    return message

    async def hears_nothing(self) -> bool:
        return await self.receive_nothing(timeout=0.3)


@sync_to_async
def logged_in() -> tuple[Any, Any]:
    user = reader_of(name=f"reader-{uuid4().hex[:8]}")
    client = Client()
    client.force_login(user)
    # Lazy, as `SessionMiddleware` of Channels hands it over.
    return user, SimpleLazyObject(lambda: client.session)


@asynccontextmanager
async def page(language: str = "en") -> AsyncIterator[Browser]:
    user, session = await logged_in()
    socket = Browser(user, language, session)
    await socket.connect()
    try:
        yield socket
    finally:
        await socket.disconnect()


@sync_to_async
def applied(*events: RunEvent) -> None:
    """Events as the listener writes them, without the push that follows."""
    for event in events:
        with transaction.atomic():
            take_in(event)


async def test_a_page_without_a_log_in_is_closed_with_its_own_code() -> None:
    socket = Browser(AnonymousUser())
    await socket.connect()
    assert (await socket.receive_output(timeout=3))["code"] == NOT_LOGGED_IN
    await socket.disconnect()


async def test_a_page_gets_the_snapshot_and_then_only_newer_versions() -> None:
    row = await written_request()
    accepted, *_, completed = a_run(row.pk)
    async with page() as socket:
        await socket.say({"type": "follow", "request_ids": [str(row.pk)]})
        snapshot = await socket.hear("snapshot")
        assert [r["request_id"] for r in snapshot["requests"]] == [str(row.pk)]
        assert snapshot["requests"][0]["state"] == "queued"

        await applied(accepted)
        await notify.requests_changed([row.pk])
        event = await socket.hear("event")
        assert (event["request"]["state"], event["request"]["version"]) == ("accepted", 2)

        await notify.requests_changed([row.pk])
        assert await socket.hears_nothing()

        await applied(completed)
        await notify.requests_changed([row.pk])
        result = (await socket.hear("event"))["request"]["result"]
        assert result["volume_ml"] == 1.2
        assert result["model"]["name"] == "breast_dce_phantom"


async def test_a_change_between_joining_and_snapshot_is_neither_lost_nor_shown_twice() -> None:
    row = await written_request()
    layer = get_channel_layer()
    joined = layer.group_add

    async def join_then_change(group: str, channel: str) -> None:
        await joined(group, channel)
        if group == notify.group_of(row.pk):
            await applied(a_run(row.pk)[0])
            await notify.requests_changed([row.pk])

    async with page() as socket:
        layer.group_add = join_then_change
        try:
            await socket.say({"type": "follow", "request_ids": [str(row.pk)]})
            snapshot = await socket.hear("snapshot")
        finally:
            del layer.group_add
        assert snapshot["requests"][0]["state"] == "accepted"
        await socket.hear("lab")
        assert await socket.hears_nothing()


async def test_a_lost_push_heals_within_seconds() -> None:
    row = await written_request()
    watching = asyncio.create_task(watch(every=0.2))
    try:
        async with page() as socket, page() as overview:
            await socket.say({"type": "follow", "request_ids": [str(row.pk)]})
            await overview.say({"type": "follow", "worklist": True})
            await socket.hear("snapshot")
            await overview.hear("snapshot")

            await applied(a_run(row.pk)[0])

            assert (await socket.hear("event"))["request"]["state"] == "accepted"
            assert (await overview.hear("event"))["request"]["state"] == "accepted"
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def test_a_worklist_hears_of_requests_that_were_made_after_it_was_opened() -> None:
    async with page() as socket:
        await socket.say({"type": "follow", "worklist": True})
        assert (await socket.hear("snapshot"))["requests"] == []
        row = await written_request()
        await notify.requests_changed([row.pk])
        assert (await socket.hear("event"))["request"]["request_id"] == str(row.pk)


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_a_failure_is_told_in_the_language_of_the_browser(language: str) -> None:
    row = await written_request()
    fault = InferenceFailed(
        **place(row.pk, 1), code=FailureCode.TOO_LARGE, detail="2000 slices", stage_seconds={}
    )
    await applied(fault)
    async with page(f"{language};q=0.9") as socket:
        await socket.say({"type": "follow", "request_ids": [str(row.pk)]})
        failure = (await socket.hear("snapshot"))["requests"][0]["failure"]
    text = FAILURE_TEXTS[FailureCode.TOO_LARGE]
    assert failure["code"] == "too_large"
    assert failure["reader"] == text.reader(language)


@pytest.mark.parametrize(
    "bad",
    [
        "no json",
        "[]",
        '{"type": "follow", "request_ids": ["../../etc"]}',
        '{"type": "become admin"}',
        "[" * 30_000,
    ],
)
async def test_a_bad_message_is_answered_and_the_connection_stays(bad: str) -> None:
    async with page() as socket:
        await socket.say_raw(text=bad)
        assert (await socket.hear("error"))["code"] == "bad_message"
        await socket.say_raw(bytes=b"\xff\x00")
        assert (await socket.hear("error"))["code"] == "bad_message"
        await socket.say({"type": "follow", "worklist": True})
        await socket.hear("snapshot")


async def test_a_page_cannot_follow_without_end() -> None:
    async with page() as socket:
        for _ in range(2):
            ids = [str(uuid4()) for _ in range(MAX_FOLLOWED - 50)]
            await socket.say({"type": "follow", "request_ids": ids})
        assert (await socket.hear("error"))["code"] == "too_many"


async def test_a_page_is_told_which_labs_are_there_and_only_when_that_changes() -> None:
    row = await written_request()
    beat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(), at=a_run(row.pk)[0].at)
    async with page() as socket:
        await socket.say({"type": "follow", "worklist": True})
        assert (await socket.hear("lab"))["labs"] == []
        await sync_to_async(registry.confirm)("lab1", "lab")
        await sync_to_async(record_heartbeat)(beat)
        await notify.labs_changed()
        (lab,) = (await socket.hear("lab"))["labs"]
        assert (lab["lab"], lab["online"], lab["device"]) == ("lab1", True, "cpu")
        await sync_to_async(record_heartbeat)(beat)
        await notify.labs_changed()
        assert await socket.hears_nothing()


def nothing_is_left() -> bool:
    return not sockets and not get_channel_layer().groups


async def test_a_page_that_went_away_unnoticed_leaves_nothing_behind() -> None:
    row = await written_request()
    user, session = await logged_in()
    socket = Browser(user, session=session)
    await socket.connect()
    await socket.say({"type": "follow", "request_ids": [str(row.pk)], "worklist": True})
    await socket.hear("snapshot")
    await socket.hear("lab")
    socket.broken = True
    await applied(a_run(row.pk)[0])
    await notify.requests_changed([row.pk])
    # Returns, and raises nothing: the server would log a traceback.
    await socket.wait(timeout=3)
    assert nothing_is_left()


async def test_a_database_that_fails_sends_the_page_away_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("server closed the connection")

    user, session = await logged_in()
    socket = Browser(user, session=session)
    await socket.connect()
    monkeypatch.setattr(reading, "worklist", away)
    await socket.say({"type": "follow", "worklist": True})
    assert (await socket.receive_output(timeout=3))["code"] == TRY_AGAIN_LATER
    await socket.wait(timeout=3)
    assert nothing_is_left()


async def test_a_fault_of_ours_in_a_handler_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    user, session = await logged_in()
    socket = Browser(user, session=session)
    await socket.connect()
    monkeypatch.setattr(reading, "worklist", faulty)
    await socket.say({"type": "follow", "worklist": True})
    with pytest.raises(ZeroDivisionError):
        await socket.wait(timeout=3)
    assert nothing_is_left()


@pytest.mark.parametrize("how", ["logged out", "disabled"])
async def test_a_reader_who_may_not_read_any_more_is_sent_away(how: str) -> None:
    user, session = await logged_in()
    async with page() as other:
        socket = Browser(user, session=session)
        await socket.connect()
        await check_sessions()
        assert await socket.hears_nothing()
        if how == "logged out":
            await sync_to_async(session.delete)()
        else:
            await get_user_model().objects.filter(pk=user.pk).aupdate(is_active=False)
        await check_sessions()
        assert (await socket.receive_output(timeout=3))["code"] == NOT_LOGGED_IN
        await socket.wait(timeout=3)
        await other.say({"type": "follow", "worklist": True})
        await other.hear("snapshot")
    assert nothing_is_left()
