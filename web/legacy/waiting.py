"""A call that waits for the outcome of its request, without a thread and without a connection.

The request is written down first; then the call joins the group of those who follow it, reads the
row, and reads it again with every hint, until it has ended or the time is up. A caller who goes
away leaves the request as it is.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any
from uuid import UUID

import structlog
from channels.consumer import get_handler_name  # type: ignore[import-untyped]
from channels.exceptions import StopConsumer  # type: ignore[import-untyped]
from channels.generic.http import AsyncHttpConsumer  # type: ignore[import-untyped]
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.utils import translation
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from web.database import DatabaseAway
from web.inference.models import InferenceRequest
from web.legacy.answers import HEADERS, Answer, answer_to, as_json, sorry
from web.legacy.language import DEFAULT, language_of
from web.legacy.outcome import outcome, timed_out
from web.legacy.threads import threads
from web.legacy.wish import Level, Taken, take
from web.live import watch
from web.live.notify import group_of

log = structlog.get_logger(__name__)

#: Bytes of a body that are read; four ids take 250.
MAX_BODY = 64 * 1024

#: Bytes that are thrown away before the call is answered: a client that is still sending would
#: not hear the answer.
MAX_THROWN_AWAY = 4 * 1024 * 1024


class WaitingCall(AsyncHttpConsumer):  # type: ignore[misc]
    """One call, from its first byte to its answer."""

    def __init__(self, *, level: Level, local: bool = False) -> None:
        super().__init__()
        self._level: Level = level
        #: Whether the address itself asks for the lab.
        self._local = local
        self._size = 0
        self._series_id = ""
        self._language = DEFAULT
        self._answered = False
        self._timer: asyncio.Task[None] | None = None
        #: The request that is waited for, and the version of it that was read last.
        self.request_id: UUID | None = None
        self.version = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the call, and leave nothing behind however that ends."""
        try:
            await super().__call__(scope, receive, send)
        except Exception as exc:  # noqa: BLE001 - `answer_to` logs what nobody foresaw
            await self._answer(self._sorry(exc))
        finally:
            await self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message; Channels' own would first go through the thread that sockets share."""
        await getattr(self, get_handler_name(message))(message)

    async def http_request(self, message: dict[str, Any]) -> None:
        """Collect the body; Channels' own would end the call as soon as `handle` returns."""
        part = message.get("body", b"")
        self._size += len(part)
        if self._size <= MAX_BODY:
            self.body.append(part)
        if not message.get("more_body") or self._size > MAX_THROWN_AWAY:
            await self.handle(b"".join(self.body))

    async def handle(self, body: bytes) -> None:
        """Submit the request, and wait for it from now on."""
        call = _request(self.scope, body)
        self._language = language_of(call)
        refusal = self._refusal(call)
        if refusal is not None:
            await self._answer(refusal)
            raise StopConsumer
        try:
            taken = await threads.run(self._take, call, body)
        except Exception as exc:  # noqa: BLE001 - `answer_to` logs what nobody foresaw
            await self._answer(self._sorry(exc))
            raise StopConsumer from None
        self.request_id, self._series_id = taken.row.pk, taken.series_id
        watch.calls.add(self)
        await self.channel_layer.group_add(group_of(self.request_id), self.channel_name)
        self._timer = asyncio.create_task(self._wait())
        # Only now: what changes from here on is told to the group.
        await self._look()

    async def request_changed(self, _hint: dict[str, Any]) -> None:
        """Something may have changed."""
        await self._look()

    async def http_disconnect(self, _message: dict[str, Any]) -> None:
        """The caller is gone, or has the answer."""
        raise StopConsumer

    def _refusal(self, call: ASGIRequest) -> Answer | None:
        with translation.override(self._language):
            if call.method != "POST":
                return sorry(405, _("This address does not take that method."))
            if self._size > MAX_BODY:
                return sorry(400, _("The request is too large."))
        return None

    def _take(self, call: ASGIRequest, body: bytes) -> Taken:
        with translation.override(self._language):
            named = self.scope["url_route"]["kwargs"]["named"]
            return take(call, self._level, named, body, local=self._local)

    async def _look(self) -> None:
        """Read the row, and answer when it has ended."""
        if answer := await self._outcome():
            await self._answer(answer)
            raise StopConsumer

    async def _outcome(self) -> Answer | None:
        try:
            return await threads.run(self._read, self.request_id)
        except DatabaseAway as exc:
            # The next look of `web.live.watch` comes.
            log.warning("waiting_call_blind", detail=str(exc))
            return None

    def _read(self, request_id: UUID | None) -> Answer | None:
        row = InferenceRequest.objects.filter(pk=str(request_id)).first()
        with translation.override(self._language):
            if row is None:
                # Somebody has deleted it.
                return sorry(500, _("There is no such request."), request_id=str(request_id))
            self.version = row.version
            return outcome(row, self._series_id)

    async def _wait(self) -> None:
        """Answer when the time is up; the server then says that the caller is gone."""
        await asyncio.sleep(settings.SITE.legacy_wait_seconds)
        # A hint may have been lost just now.
        answer = await self._outcome()
        with translation.override(self._language):
            answer = answer or timed_out(self.request_id)
        await self._answer(answer)

    def _sorry(self, error: Exception) -> Answer:
        more = {} if self.request_id is None else {"request_id": str(self.request_id)}
        with translation.override(self._language):
            return answer_to(error, **more)

    async def _answer(self, answer: Answer) -> None:
        # The timer and a hint may both come to this.
        if self._answered:
            return
        self._answered = True
        status, body = answer
        content = as_json(body)
        headers = {**HEADERS, "Content-Length": str(len(content))}
        if status == 405:
            headers["Allow"] = "POST"
        await self.send_response(
            status, content, headers=[(k.encode(), v.encode()) for k, v in headers.items()]
        )

    async def _leave(self) -> None:
        watch.calls.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self.request_id is not None:
            await self.channel_layer.group_discard(group_of(self.request_id), self.channel_name)


def _request(scope: dict[str, Any], body: bytes) -> ASGIRequest:
    """The call as Django knows it, with its session but without the middleware."""
    call = ASGIRequest(scope, BytesIO(body))
    store = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
    call.session = store(call.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return call
