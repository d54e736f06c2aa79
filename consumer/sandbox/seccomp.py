"""Which calls of the kernel a child may make: seccomp(2), for good and for all that it starts.

A list of what is refused and not of what is allowed: a bundle is torch, CUDA and whatever else its
author uses. Refused is what leads out of the child: the network, and other processes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consumer.sandbox.kernel import prctl

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

#: linux/seccomp.h: what a filter returns.
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000

#: linux/bpf_common.h: load a word, compare it, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

#: Offsets in struct seccomp_data: number, architecture, low word of the first argument.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

#: Numbers from here on are x32's, the second set of calls of a 64-bit Intel kernel.
_X32 = 0x40000000

#: clone(2): CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NAMESPACES = 0x7E020000

#: fcntl(2) and ioctl(2): have a signal of one's choice sent to a process of one's choice.
_SET_OWNER = (8, 15)
_IOCTL_SET_OWNER = (0x8901, 0x8902)

#: Machine: AUDIT_ARCH of linux/audit.h, and which column of `_NUMBERS` is its own.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

#: Numbers of the calls on x86_64 and on aarch64.
_NUMBERS = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "prlimit64": (302, 261),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "unshare": (272, 97),
    "setns": (308, 268),
    "clone": (56, 220),
    "clone3": (435, 435),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}


class NoFilter(Exception):
    """The machine has no filter that we could write; the text says why."""


@dataclass(frozen=True)
class Rule:
    """One call that is refused: always, or by the low word of one of its arguments."""

    call: str
    #: errno(3) that the caller sees.
    error: int
    argument: int = 0
    #: Refused when the word is one of these; none: always.
    values: tuple[int, ...] = ()
    #: Refused when it has any of these bits.
    bits: int = 0
    #: Refused when it is none of `values`.
    inverted: bool = field(default=False)


def rules(*, sockets: bool, guarded: Iterable[int]) -> tuple[Rule, ...]:
    """Everything that is refused.

    `sockets`: whether the child may open sockets of its own machine, as the workers of torch's
    DataLoader need. `guarded`: processes that it may not signal, by id.
    """
    # As the kernel answers where a protocol is not built in: libraries know that answer.
    away = errno.EAFNOSUPPORT
    only_local = {"values": (socket.AF_UNIX,), "inverted": True}
    ids = tuple(guarded)
    # By id, by group, everybody at once, and one's own group, whichever that is by then.
    reached = (*(_word(sign * one) for one in ids for sign in (1, -1)), _word(-1), 0)
    return (
        Rule("socket", away, **only_local) if sockets else Rule("socket", away),  # type: ignore[arg-type]
        Rule("socketpair", away, **only_local),  # type: ignore[arg-type]
        # Opens sockets too, by-passing every filter.
        *(Rule(f"io_uring_{name}", errno.ENOSYS) for name in ("setup", "enter", "register")),
        # Into other processes, beside /proc: their memory, and their open connections.
        *(
            Rule(name, errno.EPERM)
            for name in ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp")
        ),
        Rule("kill", errno.EPERM, 0, reached),
        Rule("tgkill", errno.EPERM, 0, ids),
        Rule("rt_sigqueueinfo", errno.EPERM, 0, ids),
        Rule("rt_tgsigqueueinfo", errno.EPERM, 0, ids),
        # Of others: one whose time of computation is limited to nothing ends.
        Rule("prlimit64", errno.EPERM, 0, (0,), inverted=True),
        # By a thread's id, or by a handle, it is not known who would be reached.
        Rule("tkill", errno.EPERM),
        Rule("pidfd_send_signal", errno.EPERM),
        Rule("fcntl", errno.EPERM, 1, _SET_OWNER),
        Rule("ioctl", errno.EPERM, 1, _IOCTL_SET_OWNER),
        # A namespace of one's own is the way to most of the kernel that is for administrators.
        Rule("unshare", errno.EPERM),
        Rule("setns", errno.EPERM),
        Rule("clone", errno.EPERM, 0, bits=_NAMESPACES),
        # Its flags lie in memory, where no filter sees them; glibc then uses clone.
        Rule("clone3", errno.ENOSYS),
        *(Rule(name, errno.EPERM) for name in ("bpf", "perf_event_open", "userfaultfd")),
        # Keys of the user: those of its other programs.
        *(Rule(name, errno.EPERM) for name in ("add_key", "request_key", "keyctl")),
    )


def refuse(refused: Iterable[Rule]) -> None:
    """Bind this process and all that it will start; needs ``no_new_privs``.

    Raises `NoFilter` where the kernel has none or the machine is of another kind.
    """
    program = _program(refused, os.uname().machine)
    array = (_Instruction * len(program))(*program)
    # Both must live until the call has returned.
    whole = _Program(len(program), ctypes.cast(array, ctypes.c_void_p))
    try:
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(whole))
    except OSError as exc:
        raise NoFilter(f"the kernel takes no seccomp filter ({exc.strerror})") from None


class _Instruction(ctypes.Structure):
    """``struct sock_filter``."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("then", ctypes.c_uint8),
        ("otherwise", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _program(refused: Iterable[Rule], machine: str) -> list[_Instruction]:
    if machine not in _MACHINES:
        raise NoFilter(f"no filter is known for a machine of kind {machine}")
    architecture, column = _MACHINES[machine]
    program = [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        # The calls of 32-bit programs have other numbers: all refused.
        _Instruction(_EQUAL, 1, 0, architecture),
        _Instruction(_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        _Instruction(_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [
            _Instruction(_AT_LEAST, 0, 1, _X32),
            _Instruction(_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        ]
    for rule in refused:
        body = list(_body(rule))
        program += [_Instruction(_EQUAL, 0, len(body), _NUMBERS[rule.call][column]), *body]
    return [*program, _Instruction(_RETURN, 0, 0, _ALLOW)]


def _body(rule: Rule) -> Iterator[_Instruction]:
    """What decides about a call once its number is known; it always returns."""
    refusal = _Instruction(_RETURN, 0, 0, _ERRNO | rule.error)
    allowed = _Instruction(_RETURN, 0, 0, _ALLOW)
    if not rule.values and not rule.bits:
        yield refusal
        return
    # The kernel takes these arguments as int: the low word is all of it. Both machines are
    # little-endian.
    yield _Instruction(_LOAD, 0, 0, _ARGUMENTS + 8 * rule.argument)
    if rule.bits:
        yield _Instruction(_ANY_BIT, 0, 1, rule.bits)
        yield refusal
        yield allowed
        return
    hit, miss = (allowed, refusal) if rule.inverted else (refusal, allowed)
    for value in rule.values:
        yield _Instruction(_EQUAL, 0, 1, value)
        yield hit
    yield miss


def _word(value: int) -> int:
    return value & 0xFFFFFFFF
