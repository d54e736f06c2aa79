"""The body of a call is bounded before anybody looks at the call.

Django writes whatever comes into a temporary file, and only then asks whether the address exists
and who calls: a stranger's 500 MB would lie on the disk before the 404. Here a body is held in
memory up to a limit that every view of ours lies under, for so long and from so many at once; the
call is then handed on as if it had arrived in one piece.

The calls of the old front end that wait have a limit of their own (`web.legacy.waiting`) and do
not come through here; neither does what a host project answers itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import structlog
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.utils import translation
from django.utils.translation import gettext as _

from web.access.limits import address_key
from web.error_form import OLD_PREFIX, PROGRAM_PREFIXES, code_for, error_response, sentence_for
from web.legacy.answers import as_json, error_answer
from web.legacy.language import language_of as old_language_of
from web.live.language import language_of
from web.ownership import is_ours

log = structlog.get_logger(__name__)

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

#: Bodies that arrive at the same time from one address. One that is sent in one go is not counted:
#: that is nearly every click, also of a clinic behind one address.
ARRIVING_AT_ONCE = 32

#: Seconds for which the rest of a body that was refused is thrown away: a client that is still
#: sending when the connection ends may not hear the answer.
LINGER_SECONDS = 10.0

#: Digits of a length that could be meant.
LONGEST_LENGTH = 18

#: Bodies that are arriving, by address.
_arriving: Counter[str] = Counter()


class _Refused(Exception):
    """The body is not taken; the argument is the status of the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Gone(Exception):
    """The client went away; nobody hears an answer."""


def bounded(application: Asgi) -> Asgi:
    """Around a project's HTTP application: bodies for our addresses are bounded."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        if not _has_body(headers) or not is_ours(_path(scope)):
            await application(scope, receive, send)
            return
        try:
            body = await _arrived(scope, headers, receive)
        except _Gone:
            return
        except _Refused as refusal:
            log.warning("body_refused", status=refusal.status)
            await _refuse(scope, receive, send, refusal.status)
            return
        await application(scope, _replay(body, receive), send)

    return answer


def _has_body(headers: dict[bytes, bytes]) -> bool:
    length = headers.get(b"content-length", b"0").strip()
    return b"transfer-encoding" in headers or length != b"0"


def _path(scope: Any) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _arrived(scope: Any, headers: dict[bytes, bytes], receive: Any) -> bytes:
    """The whole body. Raises `_Refused`, and `_Gone`."""
    limit = settings.SITE.max_body_bytes
    length = headers.get(b"content-length", b"")
    # By its digits first: Python reads no number of thousands of them.
    if length.isdigit() and (len(length) > LONGEST_LENGTH or int(length) > limit):
        # Before the first byte: a client that asks first (Expect: 100-continue) sends none.
        raise _Refused(413)
    first = asyncio.ensure_future(_part(receive))
    # What is there already is there after one turn of the loop.
    await asyncio.sleep(0)
    body = bytearray()
    if first.done() and not _taken(first.result(), body, limit):
        return bytes(body)
    here = address_key((scope.get("client") or (None,))[0])
    if _arriving[here] >= ARRIVING_AT_ONCE:
        first.cancel()
        raise _Refused(429)
    _arriving[here] += 1
    try:
        async with asyncio.timeout(settings.SITE.body_timeout_seconds):
            more = first.done() or _taken(await first, body, limit)
            while more:
                more = _taken(await _part(receive), body, limit)
    except TimeoutError:
        raise _Refused(408) from None
    finally:
        _arriving[here] -= 1
        # Otherwise every address that ever sent a body would stay.
        if not _arriving[here]:
            del _arriving[here]
    return bytes(body)


def _taken(message: Any, body: bytearray, limit: int) -> bool:
    """Add a part to the body; whether more comes. Raises `_Refused` when it is too much."""
    body += message.get("body", b"")
    if len(body) > limit:
        raise _Refused(413)
    return bool(message.get("more_body"))


async def _part(receive: Any) -> Any:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Gone
    return message


def _replay(body: bytes, receive: Any) -> Any:
    """A `receive` that begins with the whole body."""
    pending: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Any:
        return pending.pop() if pending else await receive()

    return replayed


async def _refuse(scope: Any, receive: Any, send: Any, status: int) -> None:
    content, kind = _answer(scope, status)
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        # The rest of the body would be taken for the next request.
        (b"connection", b"close"),
    ]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    if status == 413:
        await _throw_away(receive)
    await send({"type": "http.response.body", "body": b""})


async def _throw_away(receive: Any) -> None:
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await _part(receive)).get("more_body"):
                pass
    except (TimeoutError, _Gone):
        return


def _answer(scope: Any, status: int) -> tuple[bytes, bytes]:
    """Body and content type, in the caller's language."""
    path = _path(scope)
    old = path.startswith(OLD_PREFIX)
    with translation.override(_language(scope, old=old)):
        sentence = sentence_for(status) if status != 429 else _wait_sentence()
        if old:
            return as_json(error_answer(status, sentence)[1]), b"application/json"
        if path.startswith(PROGRAM_PREFIXES):
            return error_response(status, code_for(status), sentence).content, b"application/json"
    return sentence.encode(), b"text/plain; charset=utf-8"


def _wait_sentence() -> str:
    return _("Too many requests. Please try again in %(seconds)d seconds.") % {"seconds": 1}


def _language(scope: Any, *, old: bool) -> str:
    call = ASGIRequest(scope, BytesIO())
    return old_language_of(call) if old else language_of({**scope, "cookies": call.COOKIES})
