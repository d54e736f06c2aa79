"""A request to the archive ends when its caller looks away, however silent the archive is."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from consumer.errors import ArchiveUnavailable, RequestCancelled
from consumer.memory import MemoryFile
from consumer.orthanc import Archive

INSTANCE = "01234567-01234567-01234567-01234567-01234567"

#: Seconds of silence after which a request gives up by itself: far more than a test takes.
SILENCE = 60.0

#: Seconds in which a cancelled request must have ended; it takes about 0.2.
SOON = 10.0

HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary="edge"\r\n'


@contextmanager
def saying(
    *pieces: bytes, every: float = 0.0, then_silent: bool = True, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """An archive that sends the pieces, one `every` so many seconds, and then says nothing."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while not done.is_set():
                    plain, _ = server.accept()
                    threading.Thread(target=answer, args=(plain,), daemon=True).start()

        def answer(plain: socket.socket) -> None:
            with suppress(OSError), plain:
                connection = tls.wrap_socket(plain, server_side=True) if tls else plain
                with connection:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        if done.wait(every):
                            return
                    if then_silent:
                        done.wait()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        scheme = "https" if tls else "http"
        try:
            yield f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def cancelled_after(seconds: float) -> Callable[[], None]:
    began = time.monotonic()

    def check_stop() -> None:
        if time.monotonic() - began > seconds:
            raise RequestCancelled("the request was cancelled")

    return check_stop


def download(archive: Archive, check_stop: Callable[[], None]) -> None:
    with MemoryFile() as memory:
        archive.download_series("1.2.3", "1.2.3.4", memory, check_stop=check_stop)


REQUESTS: dict[str, Callable[[Archive, Callable[[], None]], object]] = {
    "download": download,
    "find": lambda archive, check_stop: archive.find_instance(
        "1.2.3", INSTANCE, check_stop=check_stop
    ),
    "fetch": lambda archive, check_stop: archive.fetch_instance(INSTANCE, check_stop=check_stop),
    "store": lambda archive, check_stop: archive.store(b"DICM", check_stop=check_stop),
}


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize(
    ("pieces", "every"),
    [
        ((), 0.0),
        ([bytes([byte]) for byte in HEAD], 0.3),
        ([HEAD + b"Content-Length: 1000000\r\n\r\n", *[b"x"] * 1000], 0.3),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 1000], 0.3),
        ([HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000], 0.0),
    ],
    ids=["says nothing", "trickling head", "trickling body", "trickling chunks", "falls silent"],
)
def test_a_cancel_ends_a_request_whatever_the_archive_does(
    request_name: str, pieces: list[bytes], every: float
) -> None:
    with saying(*pieces, every=every) as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, SILENCE))
        began = time.monotonic()
        with pytest.raises(RequestCancelled):
            REQUESTS[request_name](archive, cancelled_after(0.5))
        assert time.monotonic() - began < SOON


def test_a_cancel_ends_the_tries_of_an_archive_that_refuses() -> None:
    refusal = b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    with saying(refusal, then_silent=False) as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, SILENCE))
        with pytest.raises(RequestCancelled):
            archive.fetch_instance(INSTANCE, check_stop=cancelled_after(0.1))
        began = time.monotonic()
        with pytest.raises(ArchiveUnavailable, match="503"):
            archive.fetch_instance(INSTANCE)
        assert time.monotonic() - began < SOON, "nobody waits for the hour that it names"


def test_a_look_that_finds_nothing_changes_no_answer() -> None:
    body = b'{"ID": "%s", "Status": "Success"}' % INSTANCE.encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    looks: list[float] = []
    with saying(*[answer[i : i + 40] for i in range(0, len(answer), 40)], every=0.3) as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, SILENCE))
        found = archive.store(b"DICM", check_stop=lambda: looks.append(time.monotonic()))
    assert found == INSTANCE
    assert len(looks) > 3


def test_the_limit_of_silence_holds_with_a_look() -> None:
    with saying() as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, 0.5))
        with pytest.raises(ArchiveUnavailable):
            archive.store(b"DICM", check_stop=lambda: None)


def test_a_look_is_forgotten_with_its_request() -> None:
    with saying() as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, 0.5))
        with pytest.raises(RequestCancelled):
            archive.find_instance("1.2.3", INSTANCE, check_stop=cancelled_after(0.0))
        with pytest.raises(ArchiveUnavailable):
            archive.find_instance("1.2.3", INSTANCE)


#: Larger than what two sockets hold between them, so that the archive's pace is felt.
LARGE = b"DICM" * 4_000_000


@contextmanager
def taking_slowly(
    pause: float, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, bytearray]]:
    """An archive that waits `pause` seconds before each megabyte that it takes, and then stores."""
    taken = bytearray()
    done = threading.Event()

    def whole() -> bool:
        head = taken.find(b"\r\n\r\n")
        return head >= 0 and len(taken) >= head + 4 + len(LARGE)

    def take(connection: socket.socket) -> None:
        while not whole():
            if done.wait(pause):
                return
            until = len(taken) + 1024 * 1024
            while len(taken) < until and not whole():
                some = connection.recv(65536)
                if not some:
                    return
                taken.extend(some)
        body = b'{"ID": "%s", "Status": "Success"}' % INSTANCE.encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def serve() -> None:
        with suppress(OSError):
            plain, _ = server.accept()
            with plain, tls.wrap_socket(plain, server_side=True) if tls else plain as connection:
                take(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}", taken
        finally:
            done.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(SOON)


def test_an_upload_may_take_longer_than_a_connect() -> None:
    looks: list[float] = []
    with taking_slowly(0.2) as (url, taken):
        archive = Archive(url, "lab", "secret", timeout=(0.5, SILENCE))
        began = time.monotonic()
        found = archive.store(LARGE, check_stop=lambda: looks.append(time.monotonic()))
        assert time.monotonic() - began > 0.5, "it was slow"
    assert found == INSTANCE
    head, body = bytes(taken).split(b"\r\n\r\n", 1)
    assert body == LARGE
    # Orthanc wants the length, and no chunks.
    assert b"Content-Length: %d" % len(LARGE) in head
    assert b"Transfer-Encoding" not in head
    assert len(looks) > 10


def test_a_cancel_ends_an_upload_that_is_not_taken() -> None:
    with taking_slowly(SILENCE) as (url, _):
        archive = Archive(url, "lab", "secret", timeout=(SILENCE, SILENCE))
        began = time.monotonic()
        with pytest.raises(RequestCancelled):
            archive.store(LARGE, check_stop=cancelled_after(0.5))
        assert time.monotonic() - began < SOON


def test_an_archive_that_takes_nothing_of_an_upload_is_given_up_after_the_silence() -> None:
    with taking_slowly(SILENCE) as (url, _):
        archive = Archive(url, "lab", "secret", timeout=(SILENCE, 0.5))
        began = time.monotonic()
        with pytest.raises(ArchiveUnavailable):
            archive.store(LARGE)
        assert time.monotonic() - began < SOON


def test_an_upload_through_tls_arrives_whole_however_slowly_it_is_taken(tmp_path: Path) -> None:
    public = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "archive.pem")
    # Longer than a look waits: what was begun is sent again from its start.
    with taking_slowly(0.4, tls) as (url, taken):
        archive = Archive(url, "lab", "secret", timeout=(SOON, SILENCE))
        archive._http.session().verify = str(public)
        assert archive.store(LARGE, check_stop=lambda: None) == INSTANCE
    assert bytes(taken).split(b"\r\n\r\n", 1)[1] == LARGE


def certificate(folder: Path) -> Path:
    path = folder / "archive.pem"
    subprocess.run(
        (
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(path), "-out", str(folder / "public.pem"),
        ),
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (folder / "public.pem").read_text())
    return folder / "public.pem"


def test_an_archive_behind_tls_is_heard_and_left_the_same_way(tmp_path: Path) -> None:
    public = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "archive.pem")
    # Larger than a TLS record and than a buffer: some of it waits inside the TLS socket.
    body = b"DICM" * 100_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with saying(answer, tls=tls) as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, SILENCE))
        archive._http.session().verify = str(public)
        assert archive.fetch_instance(INSTANCE, check_stop=lambda: None) == body
    with saying(tls=tls) as url:
        archive = Archive(url, "lab", "secret", timeout=(SOON, SILENCE))
        archive._http.session().verify = str(public)
        began = time.monotonic()
        with pytest.raises(RequestCancelled):
            archive.fetch_instance(INSTANCE, check_stop=cancelled_after(0.5))
        assert time.monotonic() - began < SOON
