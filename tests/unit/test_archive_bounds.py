"""An archive, or what stands in its place, that answers without an end; sockets are real."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from web.orthanc import connection, heavy
from web.orthanc.archive import Orthanc
from web.orthanc.connection import ARRAY, MAX_JSON_NODES, MAX_TAGS_BYTES
from web.orthanc.errors import (
    ArchiveUnavailable,
    TooLongAnswer,
    UnreadableResult,
    UnusableAnswer,
)
from web.orthanc.heavy import large
from web.orthanc.keeping import Keeping
from web.orthanc.time_budget import within

ID = "-".join(["0123abcd"] * 5)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Stranger:
    """Answers every call with what `say` sends, and counts it."""

    def __init__(self, say: Callable[[Callable[[bytes], None]], None]) -> None:
        self.sent = 0
        self._say = say
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.orthanc = Orthanc(
            f"http://127.0.0.1:{self._listening.getsockname()[1]}", "web", "secret"
        )

    def answer(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                with line, suppress(OSError):
                    _heard(line)
                    self._say(lambda data, line=line: self._send(line, data))

    def _send(self, line: socket.socket, data: bytes) -> None:
        line.sendall(data)
        self.sent += len(data)

    def close(self) -> None:
        self.orthanc.close()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def _heard(line: socket.socket) -> None:
    """Take the whole call: a socket that is closed before that resets what it has answered."""
    call = b""
    while b"\r\n\r\n" not in call:
        piece = line.recv(65536)
        if not piece:
            return
        call += piece
    head, _, body = call.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    left = int(length[1]) - len(body) if length else 0
    while left > 0 and (piece := line.recv(65536)):
        left -= len(piece)


@contextmanager
def stranger(say: Callable[[Callable[[bytes], None]], None]) -> Iterator[Stranger]:
    made = Stranger(say)
    thread = threading.Thread(target=made.answer)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join(30)


def endless(send: Callable[[bytes], None]) -> None:
    send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    piece = b" " * 65536
    while True:
        send(b"10000\r\n" + piece + b"\r\n")


def said_to_be_long(send: Callable[[bytes], None]) -> None:
    send(HEAD + b"Content-Length: 9999999999\r\n\r\n")
    send(b" " * 65536)


@pytest.mark.parametrize(
    "ask",
    [
        lambda archive: archive.json("series", ID, "/instances"),
        lambda archive: archive.find({"Level": "Study"}),
        lambda archive: archive.bulk("Series", [ID]),
        lambda archive: archive.instances_with("1.2.3"),
        lambda archive: archive.changes(0, 1),
        lambda archive: archive.content("instances", ID, "/numpy", bounds=ARRAY),
    ],
    ids=["series", "find", "bulk", "lookup", "changes", "array"],
)
def test_an_answer_without_an_end_is_read_up_to_a_bound_alone(ask):
    with stranger(endless) as archive, pytest.raises(TooLongAnswer):
        ask(archive.orthanc)
    # What was sent and not read lies in buffers of the kernel.
    assert archive.sent < ARRAY.most + 32 * 1024 * 1024


def test_an_answer_that_is_said_to_be_too_long_is_not_read():
    with stranger(said_to_be_long) as archive, pytest.raises(TooLongAnswer):
        archive.orthanc.json("studies", ID)
    assert archive.sent < MAX_TAGS_BYTES // 4


@pytest.mark.parametrize(
    "head", [HEAD + b"Content-Length: 100000\r\n\r\n", HEAD + b"X-Nothing: "], ids=["body", "head"]
)
def test_an_answer_that_drips_ends_by_itself_where_no_page_waits(monkeypatch, head):
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)

    was_heard_out = threading.Event()

    def dripping(send: Callable[[bytes], None]) -> None:
        send(head)
        # Longer than that, and not for ever where nobody hangs up.
        for _ in range(200):
            send(b" ")
            time.sleep(0.05)
        was_heard_out.set()

    with stranger(dripping) as archive, pytest.raises(ArchiveUnavailable):
        archive.orthanc.json("studies", ID)
    assert not was_heard_out.is_set()


def test_a_compressed_answer_that_nobody_asked_for_is_not_inflated():
    bomb = gzip.compress(b" " * 200_000_000)

    def compressed(send: Callable[[bytes], None]) -> None:
        length = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        send(HEAD + length.encode())
        send(bomb)

    with stranger(compressed) as archive, pytest.raises(ArchiveUnavailable):
        archive.orthanc.json("studies", ID)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"[" + b"{}," * (MAX_JSON_NODES // 2 + 1) + b"{}]", TooLongAnswer),
        (b"[" * 200_000 + b"]" * 200_000, ArchiveUnavailable),
        (b"1" * 10_000, ArchiveUnavailable),
        (b"\xff\xfe\xff", ArchiveUnavailable),
    ],
    ids=["many", "deep", "a long number", "no text"],
)
def test_json_that_would_take_much_or_breaks_its_parser_is_refused(text, error):
    def told(send: Callable[[bytes], None]) -> None:
        send(HEAD + f"Content-Length: {len(text)}\r\n\r\n".encode() + text)

    with stranger(told) as archive, pytest.raises(error):
        archive.orthanc.find({})
    with stranger(told) as archive, pytest.raises(UnusableAnswer):
        archive.orthanc.tags(ID)


class OneTooLong(Orthanc):
    """An archive that holds a study which is too long to be described."""

    LONG = "-".join(["00000003"] * 5)

    def bulk(self, _level, orthanc_ids):
        if self.LONG in orthanc_ids:
            raise TooLongAnswer("too long")
        return [{"ID": one} for one in orthanc_ids]


def test_of_resources_that_are_too_long_to_be_described_the_others_are_told():
    ids = ["-".join([f"{n:08x}"] * 5) for n in range(5)]
    found = OneTooLong("http://a.invalid", "u", "p").described("Study", ids)
    assert [item["ID"] for item in found.items] == [*ids[:3], ids[4]]
    assert (found.asked, found.too_long) == (5, {ids[3]})


def test_no_more_than_a_few_work_on_what_is_large_and_those_that_wait_are_told_in_time():
    working, may_end = threading.Barrier(heavy.PLACES + 1), threading.Event()

    def work() -> None:
        with large(), large():
            working.wait(10)
            may_end.wait(10)

    threads = [threading.Thread(target=work) for _ in range(heavy.PLACES)]
    for thread in threads:
        thread.start()
    working.wait(10)
    try:
        with pytest.raises(ArchiveUnavailable), within(0.1), large():
            pass
    finally:
        may_end.set()
        for thread in threads:
            thread.join(10)
    with large():
        pass


def test_what_is_kept_weighs_no_more_than_it_may():
    kept: Keeping[str, str] = Keeping(10, len)
    for key, value in (("a", "xxxx"), ("b", "xxxx"), ("a", "xxxxx"), ("c", "xxxx")):
        kept.keep(key, value)
    assert [kept.get(key) for key in "abc"] == ["xxxxx", None, "xxxx"]
    kept.keep("d", "x" * 11)
    assert [kept.get(key) for key in "acd"] == [None, None, None]


class Copied(Orthanc):
    """An archive in which an object lies in very many studies."""

    def instances_with(self, _sop_instance_uid):
        return [ID] * 1000

    def filed(self, _instance_id):
        raise AssertionError("nobody is to wait for a thousand answers")


def test_of_a_thousand_copies_nobody_asks_where_each_lies():
    with pytest.raises(UnreadableResult):
        Copied("http://a.invalid", "u", "p").instances_in((ID, "1.2.3"), "1.2.3.4")
