"""Answers of the archive that are read while they are passed on: no thread waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from django.conf import settings

from web.dicomweb.addresses import FORWARDED
from web.dicomweb.slots import MOST, Slot
from web.orthanc.connection import CONNECT_SECONDS, READ_SECONDS
from web.orthanc.errors import ArchiveUnavailable, NotInArchive, UnusableAnswer

#: Seconds that one answer may take in all: a reader who does not read must not hold it for ever.
WHOLE_SECONDS = 900.0

#: Seconds until the archive begins to answer, whatever it has sent by then; its own part of that
#: without a byte is `READ_SECONDS`.
HEAD_SECONDS = 60.0

#: Bytes of a part that is passed on: large enough to be few, small enough to be little memory.
PART_BYTES = 64 * 1024

#: Bytes up to which an answer is read at once, as a frame is: the archive sends them faster than
#: they could be passed on in parts.
SHORT_BYTES = 1024 * 1024

#: Connections to the archive that this event loop has; a client belongs to the loop of its first
#: call. In service there is one loop.
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, ...], httpx.AsyncClient]] = (
    WeakKeyDictionary()
)


class Opened:
    """An answer whose status and headers are there, and whose content is not unless it is short."""

    def __init__(self, answer: httpx.Response, slot: Slot) -> None:
        #: The whole content of a short answer.
        self.content: bytes | None = None
        self._answer = answer
        self._slot = slot
        self._loop = asyncio.get_running_loop()
        self._ended = False

    @property
    def content_type(self) -> str:
        """As the archive says."""
        return str(self._answer.headers.get("Content-Type", ""))

    @property
    def is_short(self) -> bool:
        """Whether the archive says that it sends few bytes."""
        text = self._answer.headers.get("Content-Length", "")
        return text.isdecimal() and int(text) <= SHORT_BYTES

    async def read(self) -> None:
        """Read the `content`; raises `ArchiveUnavailable`."""
        async with aclosing(self.parts()) as parts:
            self.content = b"".join([part async for part in parts])

    async def parts(self) -> AsyncGenerator[bytes]:
        """The content, in the pace of whoever reads it.

        Raises `ArchiveUnavailable` where the archive breaks off: the answer that is under way must
        then break off as well, or half of it would look like the whole.
        """
        task = asyncio.current_task()
        overdue = None
        if task is not None:
            overdue = self._loop.call_later(WHOLE_SECONDS, task.cancel)
        try:
            async for part in self._answer.aiter_raw(PART_BYTES):
                yield part
        except httpx.HTTPError as exc:
            raise ArchiveUnavailable(f"Orthanc broke off: {type(exc).__name__}") from exc
        finally:
            if overdue is not None:
                overdue.cancel()
            await self.close()

    async def close(self) -> None:
        """Let go of the connection; a second time does nothing."""
        if not self._ended:
            self._ended = True
            self._slot.release()
            await self._answer.aclose()

    def abandon(self) -> None:
        """The same from any thread, for an answer that nobody will read."""
        if not self._ended and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.close()))


async def opened(
    path: str, parameters: Sequence[tuple[str, str]], accept: str, slot: Slot
) -> Opened:
    """Ask the archive for ``/dicom-web/<path>``; the slot is given back when the answer ends.

    Raises `NotInArchive`, `UnusableAnswer` or `ArchiveUnavailable`.
    """
    try:
        answer = await _begun(path, parameters, accept)
        if answer.status_code == httpx.codes.OK:
            begun = Opened(answer, slot)
            if begun.is_short:
                await begun.read()
            return begun
    except BaseException:
        slot.release()
        raise
    slot.release()
    await answer.aclose()
    match answer.status_code:
        case httpx.codes.NOT_FOUND:
            raise NotInArchive("Orthanc answered 404")
        case httpx.codes.BAD_REQUEST | httpx.codes.NOT_ACCEPTABLE | httpx.codes.NOT_IMPLEMENTED:
            raise UnusableAnswer(f"Orthanc answered {answer.status_code}")
        case status:
            raise ArchiveUnavailable(f"Orthanc answered {status}")


async def whole(
    path: str, parameters: Sequence[tuple[str, str]], accept: str, slot: Slot, most: int
) -> bytes:
    """The content of a short answer; raises `UnusableAnswer` beyond `most` bytes, and as above."""
    answer = await opened(path, parameters, accept, slot)
    if answer.content is not None:
        return answer.content
    body = bytearray()
    async with aclosing(answer.parts()) as parts:
        async for part in parts:
            body += part
            if len(body) > most:
                raise UnusableAnswer("Orthanc answers with more bytes than a search should")
    return bytes(body)


async def _begun(path: str, parameters: Sequence[tuple[str, str]], accept: str) -> httpx.Response:
    client = _client()
    asked = client.build_request(
        "GET", f"/dicom-web/{path}", params=list(parameters), headers={"Accept": accept}
    )
    try:
        # Its head, too, may come a byte at a time.
        async with asyncio.timeout(HEAD_SECONDS):
            return await client.send(asked, stream=True)
    except TimeoutError:
        raise ArchiveUnavailable("Orthanc does not begin to answer") from None
    except httpx.HTTPError as exc:
        raise ArchiveUnavailable(f"Orthanc does not answer: {type(exc).__name__}") from exc


def _client() -> httpx.AsyncClient:
    site: Any = settings.SITE
    key = (site.orthanc_url, site.orthanc_user, site.orthanc_password.get_secret_value())
    of_loop = _clients.setdefault(asyncio.get_running_loop(), {})
    if key not in of_loop:
        url, user, password = key
        of_loop[key] = httpx.AsyncClient(
            base_url=url,
            auth=(user, password),
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            # None is kept: Orthanc ends an idle one after a second, perhaps just as it is used.
            limits=httpx.Limits(max_connections=MOST, max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
            # Compressing costs Orthanc more than sending; and it names itself as it is told to.
            headers={"Accept-Encoding": "identity", "Forwarded": FORWARDED},
        )
    return of_loop[key]
