"""Whether the sandbox holds, checked from inside a child: by trying, not by reading settings."""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from consumer.sandbox import landlock
from consumer.sandbox.kernel import syscall

#: io_uring_setup(2), on all machines.
_IO_URING_SETUP = 425

#: Kinds of sockets that lead out of the machine, or into its kernel.
_FAMILIES = ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")


#: Where an installation keeps the settings of a lab (docs/operations.md), and where a person does.
_SETTINGS = ("/etc/labrelay/lab.env", "lab.env", ".env")


@dataclass(frozen=True)
class SandboxReport:
    """What a child can do, and with what it was begun."""

    #: Names of its environment.
    environment: tuple[str, ...]
    no_new_privileges: bool
    #: Of capabilities(7), as a mask; 0 is none.
    capabilities: int
    #: Ways to a network that are open.
    network: tuple[str, ...]
    #: Files of the lab, and of the keeper, that it may open.
    readable: tuple[str, ...]
    #: Files of settings that it may open.
    settings: tuple[str, ...]
    #: Whether the lab or the keeper may be signalled.
    signals: bool
    #: Whether what it leaves behind comes to its keeper, which ends it.
    kept: bool
    #: ABI of the kernel's Landlock, 0 for none.
    landlock: int


def check_sandbox(lab: int) -> SandboxReport:
    """Try the walls of this process; `lab` is the process that asks, by id."""
    keeper = os.getppid()
    status = _status()
    return SandboxReport(
        environment=tuple(sorted(_environment())),
        no_new_privileges=status.get("NoNewPrivs") == "1",
        capabilities=int(status.get("CapEff", "0"), 16),
        network=tuple(_network()),
        readable=tuple(
            f"/proc/{whose}/{file}"
            for whose, pid in (("lab", lab), ("keeper", keeper))
            for file in ("environ", "mem", "maps")
            if _opens(Path(f"/proc/{pid}/{file}"))
        ),
        settings=tuple(file for file in _SETTINGS if _opens(Path(file))),
        signals=any(_reaches(pid) for pid in (lab, keeper)),
        kept=_orphan_comes_to(keeper),
        landlock=landlock.version(),
    )


def _environment() -> list[str]:
    """What the kernel gave the process, and not what Python has made of it."""
    with suppress(OSError):
        words = Path("/proc/self/environ").read_bytes().split(b"\0")
        return [word.partition(b"=")[0].decode(errors="replace") for word in words if word]
    return sorted(os.environ)  # noqa: TID251 - its names are looked at, and no value


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _network() -> list[str]:
    found = []
    for name in _FAMILIES:
        kind = socket.SOCK_RAW if name in {"AF_NETLINK", "AF_PACKET"} else socket.SOCK_STREAM
        with suppress(OSError), socket.socket(getattr(socket, name), kind):
            found.append(name)
    # struct io_uring_params has 120 bytes.
    parameters = ctypes.create_string_buffer(120)
    with suppress(OSError):
        os.close(syscall(_IO_URING_SETUP, ctypes.c_uint(1), ctypes.byref(parameters)))
        found.append("io_uring")
    return found


def _opens(path: Path) -> bool:
    # The kernel asks at the opening. (Nothing can be read at the place 0 of a memory.)
    with suppress(OSError), path.open("rb"):
        return True
    return False


def _reaches(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def _orphan_comes_to(keeper: int) -> bool:
    """Whether a process whose parent has ended is the keeper's from then on."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    between = os.fork()
    if between == 0:
        own = os.getpid()
        if os.fork() == 0:
            while os.getppid() == own:
                os.sched_yield()
            os.write(writing, str(os.getppid()).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(between, 0)
    with open(reading, "rb") as answer:  # noqa: PTH123 - a descriptor
        return answer.read() == str(keeper).encode()
