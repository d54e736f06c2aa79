"""A call that waits for the outcome of its request, without a thread and without a connection.

The request is written down first; then the call joins the group of those who follow it, reads the
row, and reads it again with every hint, until it has ended or the time is up. A caller who goes
away leaves the request as it is.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any, NoReturn
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

from web.access.caller import Caller
from web.database import DatabaseAway
from web.inference.models import InferenceRequest
from web.legacy.answers import HEADERS, Answer, answer_to, as_json, error_answer
from web.legacy.caller import not_too_many_from
from web.legacy.language import DEFAULT, language_of
from web.legacy.outcome import outcome, stopped, timed_out
from web.legacy.submission import Level, Taken, take
from web.legacy.threads import reading, taking
from web.live import watch
from web.live.inbox import Inbox
from web.notify import group_of

log = structlog.get_logger(__name__)

#: Bytes of a body that are read; four ids take 250.
MAX_BODY = 64 * 1024

#: Bytes that are thrown away before the call is answered: a client that is still sending would
#: not hear the answer.
MAX_THROWN_AWAY = 4 * 1024 * 1024

#: Seconds from the arrival of a call to the end of its body.
BODY_SECONDS = 30.0

#: Seconds, and part of the whole time, by which a call is answered early: the front end counts
#: from the moment when it sends, and must hear the answer before it gives up.
EARLY_SECONDS, EARLY_PART = 3.0, 0.1

#: Seconds that the last look at the row may take, when the time is up.
LAST_LOOK_SECONDS = 2.0


class WaitingCall(AsyncHttpConsumer):  # type: ignore[misc]
    """One call, from its first byte to its answer."""

    #: Where `web.live.watch` leaves its hints; there as long as the call is served.
    inbox: Inbox

    def __init__(self, *, level: Level, local: bool = False) -> None:
        super().__init__()
        self._level: Level = level
        #: Whether the address itself asks for the lab.
        self._local = local
        self._size = 0
        self._series_id = ""
        self._caller: Caller | None = None
        self._language = DEFAULT
        self._began = 0.0
        self._body_there = False
        #: What ends the call; whoever sets it raises `StopConsumer`, and sends nothing.
        self._end: Answer | None = None
        self._time_budget = asyncio.timeout(None)
        #: The request that is waited for, and the version of it that was read last.
        self.request_id: UUID | None = None
        self.version = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the call, and leave nothing behind however that ends.

        Only here is it answered, once, when nothing else of it runs any more. No answer: the
        caller is gone.
        """
        self.inbox = Inbox(receive)
        try:
            answer = await self._ended(scope, self.inbox.receive, send)
            if answer is not None:
                await _answer(send, answer)
        finally:
            await self._leave()
            await self.inbox.close()

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
        self._body_there = True
        wait = settings.SITE.legacy_wait_seconds
        self._time_budget.reschedule(self._began + wait - min(EARLY_SECONDS, EARLY_PART * wait))
        call = _request(self.scope, body)
        self._language = language_of(call)
        if (refusal := self._refusal(call)) is not None:
            self._finish(refusal)
        taken = await taking.run(self._take, call, body)
        self.request_id, self._series_id = taken.row.pk, taken.series_id
        self._caller = taken.caller
        watch.calls.add(self)
        await self.channel_layer.group_add(group_of(self.request_id), self.channel_name)
        # Only now: what changes from here on is told to the group.
        await self._look()

    async def request_changed(self, _hint: dict[str, Any]) -> None:
        """Something may have changed."""
        await self._look()

    async def site_stopping(self, _hint: dict[str, Any]) -> None:
        """The site stops: the caller is told so, and the request goes on without it."""
        with translation.override(self._language):
            self._finish(stopped(self.request_id))

    async def http_disconnect(self, _message: dict[str, Any]) -> None:
        """The caller is gone."""
        raise StopConsumer

    async def _ended(self, scope: Any, receive: Any, send: Any) -> Answer | None:
        """Serve the call; what it is to be answered, or None when nobody listens any more."""
        try:
            return await self._served(scope, receive, send)
        except asyncio.CancelledError:
            # The server stops, and ends here what still waits: this answer is that end. One that
            # is passed on would be answered by the server, without a sentence.
            with translation.override(self._language):
                return stopped(self.request_id)
        except Exception as exc:  # noqa: BLE001 - `answer_to` logs what nobody foresaw
            more = {} if self.request_id is None else {"request_id": str(self.request_id)}
            with translation.override(self._language):
                return answer_to(exc, **more)

    async def _served(self, scope: Any, receive: Any, send: Any) -> Answer | None:
        self._began = asyncio.get_running_loop().time()
        self._time_budget = asyncio.timeout(BODY_SECONDS)
        try:
            async with self._time_budget:
                await super().__call__(scope, receive, send)
        except TimeoutError:
            if not self._time_budget.expired():
                raise
            return self._end or await self._late()
        return self._end

    async def _late(self) -> Answer:
        """The answer when the time is up."""
        if not self._body_there:
            with translation.override(self._language):
                return error_answer(400, _("The request did not arrive in time."))
        answer = None
        if self.request_id is not None:
            # A hint may have been lost just now.
            try:
                answer = await asyncio.wait_for(self._outcome(), LAST_LOOK_SECONDS)
            except TimeoutError:
                log.warning("waiting_call_blind", detail="the last look took too long")
        with translation.override(self._language):
            return answer or timed_out(self.request_id)

    def _refusal(self, call: ASGIRequest) -> Answer | None:
        with translation.override(self._language):
            if call.method != "POST":
                return error_answer(405, _("This address does not take that method."))
            not_too_many_from(call)
            if self._size > MAX_BODY:
                return error_answer(400, _("The request is too large."))
        return None

    def _take(self, call: ASGIRequest, body: bytes) -> Taken:
        with translation.override(self._language):
            named = self.scope["url_route"]["kwargs"]["named"]
            return take(call, self._level, named, body, local=self._local)

    async def _look(self) -> None:
        """Read the row, and end when it has ended."""
        if answer := await self._outcome():
            self._finish(answer)

    async def _outcome(self) -> Answer | None:
        try:
            return await reading.run(self._read, self.request_id)
        except DatabaseAway as exc:
            # The next look of `web.live.watch` comes.
            log.warning("waiting_call_blind", detail=str(exc))
            return None

    def _read(self, request_id: UUID | None) -> Answer | None:
        row = InferenceRequest.objects.filter(pk=str(request_id)).first()
        with translation.override(self._language):
            if row is None:
                # Somebody has deleted it.
                return error_answer(500, _("There is no such request."), request_id=str(request_id))
            self.version = row.version
            answer = outcome(row, self._series_id)
        if answer is not None and row.result is not None and self._caller is not None:
            # Before it is told: without the entry there is no answer either.
            self._caller.sees_results([(row.study_id, row.pk)])
        return answer

    def _finish(self, answer: Answer) -> NoReturn:
        self._end = answer
        raise StopConsumer

    async def _leave(self) -> None:
        watch.calls.discard(self)
        if self.request_id is not None:
            await self.channel_layer.group_discard(group_of(self.request_id), self.channel_name)


async def _answer(send: Any, answer: Answer) -> None:
    status, body = answer
    content = as_json(body)
    headers = {**HEADERS, "Content-Length": str(len(content))}
    if status == 405:
        headers["Allow"] = "POST"
    encoded = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


def _request(scope: dict[str, Any], body: bytes) -> ASGIRequest:
    """The call as Django knows it, with its session but without the middleware."""
    call = ASGIRequest(scope, BytesIO(body))
    store = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
    call.session = store(call.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return call
