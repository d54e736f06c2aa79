"""What foreign code tries that runs in a child of a lab. A module of its own: it is run there.

Each function returns what it achieved, in words; an empty list is what is wanted.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Bytes of memory that are looked through at a time.
_PIECE = 4 * 1024**2

_libc = ctypes.CDLL(None, use_errno=True)

#: Numbers of system calls on this machine.
_INTEL = platform.machine() == "x86_64"
_SOCKET = 41 if _INTEL else 198
_IO_URING_SETUP, _PIDFD_OPEN, _PIDFD_SEND_SIGNAL, _PIDFD_GETFD = 425, 434, 424, 438


def pids() -> list[int]:
    """This process, and its parents up to the first."""
    found = [os.getpid()]
    while found[-1] > 1:
        found.append(_parent(found[-1]))
    return found[:-1]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0


def secrets(begin: str, end: str, of: list[int]) -> list[str]:
    """Places that hold a word: environments of all processes, the memory of some and of this one.

    The word comes in two parts, so that looking for it does not make it be there.
    """
    environment = os.environ.items()  # noqa: TID251 - it is looked through
    found = [f"os.environ {name}" for name, value in environment if begin + end in value]
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    parts = begin.encode(), end.encode()
    for pid in {*everyone, *of, os.getpid()}:
        with suppress(OSError):
            if _holds(Path(f"/proc/{pid}/environ").read_bytes(), *parts):
                found.append(f"environ of {pid}")
    for pid in {*of, os.getpid()}:
        with suppress(OSError):
            if any(_holds(piece, *parts) for piece in _memory(pid)):
                found.append(f"memory of {pid}")
    return found


def _holds(data: bytes, begin: bytes, end: bytes) -> bool:
    place = data.find(begin)
    while place >= 0:
        if data[place + len(begin) :].startswith(end):
            return True
        place = data.find(begin, place + 1)
    return False


def _memory(pid: int) -> Iterator[bytes]:
    """What a process has written: its mappings without a file."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            fields = line.split()
            if not fields[1].startswith("rw") or (len(fields) > 5 and fields[5].startswith("/")):
                continue
            start, stop = (int(number, 16) for number in fields[0].split("-"))
            for place in range(start, stop, _PIECE):
                with suppress(OSError, ValueError, OverflowError):
                    memory.seek(place)
                    yield memory.read(min(_PIECE, stop - place))


def looks_into(others: list[int]) -> list[str]:
    """Ways into other processes that are open: their files, as a debugger, by their descriptors."""
    found = []
    for pid in others:
        for file in ("environ", "mem", "maps", "auxv"):
            with suppress(OSError), Path(f"/proc/{pid}/{file}").open("rb"):
                found.append(f"{file} of {pid}")
        with suppress(OSError):
            Path(f"/proc/{pid}/fd/0").readlink()
            found.append(f"descriptors of {pid}")
        # PTRACE_SEIZE stops nobody.
        if _libc.ptrace(0x4206, pid, None, None) == 0:
            found.append(f"ptrace of {pid}")
        handle = _libc.syscall(_PIDFD_OPEN, pid, 0)
        if handle >= 0:
            if _libc.syscall(_PIDFD_GETFD, handle, 0, 0) >= 0:
                found.append(f"standard input of {pid}")
            os.close(handle)
    return found


def signals(others: list[int]) -> list[str]:
    """Ways to end other processes that are open."""
    found = []
    for pid in others:
        handle = _libc.syscall(_PIDFD_OPEN, pid, 0)
        if handle >= 0:
            if _libc.syscall(_PIDFD_SEND_SIGNAL, handle, 0, None, 0) == 0:
                found.append(f"signal by handle to {pid}")
            os.close(handle)
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_CPU)
            found.append(f"limits of {pid}")
        for kind, target in (("process", pid), ("group", -pid)):
            with suppress(OSError):
                os.kill(target, 0)
                found.append(f"signal to {kind} {pid}")
    with suppress(OSError):
        os.kill(-1, 0)
        found.append("signal to everybody")
    return found


def connects(addresses: list[list[str | int]]) -> list[str]:
    """Ways to a network that are open, from here and from a program that is started."""
    found = []
    for host, port in addresses:
        with suppress(OSError), socket.create_connection((str(host), int(port)), 5):
            found.append(f"connected to {host}:{port}")
        program = f"import socket; socket.create_connection(({host!r}, {port}), 5).close()"
        done = subprocess.run((sys.executable, "-c", program), check=False, capture_output=True)
        if done.returncode == 0:
            found.append(f"a program connected to {host}:{port}")
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (str(host), int(port)))
            found.append(f"sent to {host}:{port}")
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_VSOCK):
        handle = _libc.syscall(_SOCKET, int(family), 2, 0)
        if handle >= 0:
            os.close(handle)
            found.append(f"a socket of {family.name}")
    parameters = ctypes.create_string_buffer(120)
    handle = _libc.syscall(_IO_URING_SETUP, 1, parameters)
    if handle >= 0:
        os.close(handle)
        found.append("a ring")
    return found


def gains() -> list[str]:
    """Rights that this process has or may gain."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    found = []
    if status["NoNewPrivs"] != "1":
        found.append("new privileges")
    if int(status["CapEff"], 16):
        found.append("capabilities")
    # A namespace of one's own: CLONE_NEWUSER | CLONE_NEWNET.
    if _libc.unshare(0x50000000) == 0:
        found.append("a namespace")
    return found


def leaves(file: str) -> int:
    """Start a process that leaves every group and every parent, and note its id; return it.

    It hears no signal that can be left unheard, and asks the kernel not to end it with anybody.
    """
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                with suppress(OSError):
                    signal.signal(number, signal.SIG_IGN)
            _libc.prctl(1, 0, 0, 0, 0)
            os.setpgid(0, 0)
            Path(file).write_text(str(os.getpid()))
            while True:
                time.sleep(60)
        os._exit(0)
    while not (Path(file).exists() and Path(file).read_text()):
        time.sleep(0.01)
    return int(Path(file).read_text())


def leaves_and_hangs(file: str) -> None:
    """The same, and then be too slow."""
    leaves(file)
    time.sleep(600)


def leaves_and_crashes(file: str) -> None:
    """The same, and then end as a decoder does that writes where it must not."""
    leaves(file)
    ctypes.string_at(0)


def ends_its_keeper(file: str) -> list[str]:
    """Leave a process behind, then end the keeper from within its own group; what was open."""
    leaves(file)
    found = []
    for group in {os.getpgid(os.getppid()), os.getppid()}:
        with suppress(OSError):
            os.setpgid(0, group)
            found.append(f"joined the group {group}")
        with suppress(OSError):
            os.kill(0, signal.SIGKILL if found else 0)
            found.append("signal to the own group")
    return found


def leaves_a_chain(file: str) -> None:
    """Start a process that goes on from one child to the next, and never stays the same."""
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
            Path(f"{file}.new").write_text(str(os.getpid()))
            Path(f"{file}.new").replace(file)
            time.sleep(0.005)
    time.sleep(600)


def answers_as_code(file: str) -> None:
    """Answer with a pickle that runs in whoever opens it, on every descriptor that may be asked."""
    body = b"cposix\nsystem\n(S'touch " + file.encode() + b"'\ntR."
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            kind, fd = str(entry.readlink()), int(entry.name)
            if fd > 2 and kind.startswith(("pipe:", "socket:")):
                # As multiprocessing frames it, and as we do.
                os.write(fd, len(body).to_bytes(4, "big") + body)
                os.write(fd, b"R" + len(body).to_bytes(8, "big") + body)


def everything(report: str, order: str) -> None:
    """All of it, for a bundle: writes what it achieved as JSON. `order` names a file with words."""
    told = json.loads(Path(order).read_text())
    achieved = [
        *secrets(told["begin"], told["end"], told["pids"]),
        *looks_into(told["pids"]),
        *signals(told["pids"]),
        *connects(told["addresses"]),
        *gains(),
    ]
    Path(report).write_text(json.dumps(achieved))


def forges(report: str) -> None:
    """Change all shared memory that can be found, here or in a parent; write what was changed."""
    found = []
    for pid in pids():
        with suppress(OSError):
            for entry in list(Path(f"/proc/{pid}/fd").iterdir()):
                with suppress(OSError):
                    name = str(entry.readlink())
                    if "memfd:" not in name:
                        continue
                    with suppress(OSError):
                        os.truncate(entry, 16)
                        found.append(f"cut {name} of {pid}")
                    with entry.open("r+b", buffering=0) as file:
                        file.write(b"forged")
                        found.append(f"wrote {name} of {pid}")
    Path(report).write_text(json.dumps(found))
