"""``/ws/live/``: a page says what it follows and is told of every change.

What is said stands in `web.live.messages`. A request of a study that the reader does not see is
like one that does not exist.

The group is joined before the snapshot is read, so no change falls between the two; what then
comes twice is recognised by its version.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any
from uuid import UUID

import structlog
from channels.auth import get_user  # type: ignore[import-untyped]
from channels.exceptions import StopConsumer  # type: ignore[import-untyped]
from channels.generic.websocket import (  # type: ignore[import-untyped]
    AsyncJsonWebsocketConsumer,
)
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils.translation import gettext as _
from pydantic import ValidationError

from web.access import limits
from web.access.audit import Way
from web.access.caller import Caller, address_in
from web.access.limits import Kind
from web.inference.presentation import RequestView
from web.live import reading, watch
from web.live.following import Following
from web.live.inbox import Inbox
from web.live.language import language_of
from web.live.messages import (
    MAX_FOLLOWED,
    ErrorMessage,
    EventMessage,
    Follow,
    LabMessage,
    ServerMessage,
    SnapshotMessage,
)
from web.live.turns import reads
from web.notify import LABS_GROUP, group_of_session

log = structlog.get_logger(__name__)

#: Close code for a socket without a log-in; from the range that is free for applications.
NOT_LOGGED_IN = 4401

#: Close code for "come again" (RFC 6455's registry, 1013).
TRY_AGAIN_LATER = 1013

#: Close code for a page that opens or says too much (RFC 6455, 7.4.1: policy violation).
TOO_MUCH = 1008

#: Characters of a message; 200 ids take less than half of it.
MAX_MESSAGE = 20_000


class LiveSocket(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """One page's socket."""

    #: Where `web.live.watch` leaves its hints; there as long as the socket is served.
    inbox: Inbox

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.following = Following()
        self._session_group: str | None = None
        self._labs: list[dict[str, Any]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the page, and leave nothing behind however that ends.

        Not in `disconnect`: Channels does not call it after a handler that raised.
        """

        async def sent(message: Any) -> None:
            try:
                await send(message)
            except OSError:
                # The page went away; its `disconnect` was still to come.
                raise StopConsumer from None

        self.inbox = Inbox(receive)
        try:
            await super().__call__(scope, self.inbox.receive, sent)
        finally:
            await self._forgotten()
            await self.inbox.close()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message; without the database the page is sent away, and comes back."""
        try:
            await super().dispatch(message)
        except (DatabaseError, InterfaceError) as exc:
            log.warning("socket_closed", detail=type(exc).__name__)
            await self.close(code=TRY_AGAIN_LATER)
            raise StopConsumer from exc

    async def connect(self) -> None:
        """Take pages of logged-in readers; the others are told why by the close code."""
        user = self.scope.get("user")
        stranger = user is None or not user.is_authenticated
        if stranger and limits.allowed(Kind.SOCKET, limits.address_key(self._address)) is not None:
            # Before it opens: the server answers 403, and nothing stays open meanwhile.
            await self.close(code=TOO_MUCH)
            return
        await self.accept()
        self.language = language_of(self.scope)
        if stranger:
            await self.close(code=NOT_LOGGED_IN)
            return
        if limits.allowed(Kind.SOCKET, limits.caller_key(user.pk, None)) is not None:
            log.warning("rate_limited", kind=Kind.SOCKET.value, user_id=user.pk)
            await self.close(code=TOO_MUCH)
            return
        if self._open_of(user) >= settings.SITE.max_sockets_per_user:
            log.warning("too_many_sockets", user_id=user.pk)
            await self.close(code=TOO_MUCH)
            return
        watch.sockets.add(self)
        await self.channel_layer.group_add(LABS_GROUP, self.channel_name)
        if key := getattr(self.scope.get("session"), "session_key", None):
            self._session_group = group_of_session(key)
            await self.channel_layer.group_add(self._session_group, self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **_rest: Any
    ) -> None:
        """Read a message; a bad one is answered and the connection stays."""
        if self not in watch.sockets:
            return
        if limits.allowed(Kind.MESSAGE, self.channel_name) is not None:
            log.warning("rate_limited", kind=Kind.MESSAGE.value, user_id=self.scope["user"].pk)
            await self._away(TOO_MUCH)
        try:
            wanted = Follow.model_validate_json((text_data or bytes_data or "")[:MAX_MESSAGE])
        except ValidationError:
            await self._refuse("bad_message", _("This message is not understood."))
            return
        if self.following.with_these(wanted) > MAX_FOLLOWED:
            await self._refuse("too_many", _("This page follows too many requests."))
            return
        await self._follow(wanted)

    async def request_changed(self, hint: dict[str, Any]) -> None:
        """Something may have changed: read it and send what is newer than what was sent."""
        ids = {UUID(text) for text in hint["request_ids"]}
        scope = self.following.scope
        views = await self._read(reading.requests_by_id, ids, self.language, scope)
        newer = self.following.newer(views)
        await self._note(newer)
        for view in newer:
            await self._say(EventMessage(request=view))

    async def labs_changed(self, _hint: dict[str, Any]) -> None:
        """Send the labs when a reader would see a difference."""
        labs = await self._read(reading.labs)
        seen = [lab.model_dump(exclude={"last_seen"}) for lab in labs]
        if seen != self._labs:
            self._labs = seen
            await self._say(LabMessage(labs=labs))

    async def session_check(self, _hint: dict[str, Any]) -> None:
        """Send the page away when its reader has logged out or may not log in any more.

        What the reader sees is read again too: a grant may have been withdrawn.
        """
        # A fresh one: that of the scope remembers what it has read.
        store = import_module(settings.SESSION_ENGINE).SessionStore
        session = store(self.scope["session"].session_key)
        user = await get_user({"session": session})
        if not user.is_authenticated:
            await self._away(NOT_LOGGED_IN)
        self.following.scope = await self._read(reading.scope, user)

    async def session_ended(self, _hint: dict[str, Any]) -> None:
        """Send the page away: its reader has logged out."""
        await self._away(NOT_LOGGED_IN)

    async def _away(self, code: int) -> None:
        watch.sockets.discard(self)
        await self.close(code=code)
        raise StopConsumer

    async def _forgotten(self) -> None:
        watch.sockets.discard(self)
        groups = [*self.following.groups, LABS_GROUP]
        if self._session_group:
            groups.append(self._session_group)
        for group in groups:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def _follow(self, wanted: Follow) -> None:
        # Before the groups are joined: what is named here is left at the end.
        for group in self.following.add(wanted):
            await self.channel_layer.group_add(group, self.channel_name)
        # Only now: what changes from here on is told to the groups.
        scope = self.following.scope = await self._read(reading.scope, self.scope["user"])
        views: list[RequestView] = []
        if wanted.request_ids:
            ids = wanted.request_ids
            views += await self._read(reading.requests_by_id, ids, self.language, scope)
        if wanted.worklist:
            views += await self._read(reading.worklist, self.language, scope)
        snapshot = {str(view.request_id): view for view in views}
        await self._note(snapshot.values())
        self.following.are_sent(snapshot.values())
        await self._say(SnapshotMessage(requests=list(snapshot.values())))
        await self.labs_changed({})

    async def _note(self, views: Iterable[RequestView]) -> None:
        """Write the results that the reader is about to be told into the audit trail."""
        told = [(view.study_id, view.request_id) for view in views if view.result is not None]
        if not told:
            return
        caller = Caller(
            self.scope["user"], Way.SESSION, address_in(self._address), self.following.scope
        )
        await self._read(caller.sees_results, told)

    async def _read(self, function: Any, *args: Any) -> Any:
        return await reads.run(self.scope["user"].pk, function, *args)

    @property
    def _address(self) -> str | None:
        client: tuple[str | None, ...] = self.scope.get("client") or (None,)
        return client[0]

    @staticmethod
    def _open_of(user: Any) -> int:
        return sum(socket.scope["user"].pk == user.pk for socket in watch.sockets)

    async def _refuse(self, code: str, sentence: str) -> None:
        await self._say(ErrorMessage(code=code, message=sentence))

    async def _say(self, message: ServerMessage) -> None:
        await self.send(text_data=message.model_dump_json())
