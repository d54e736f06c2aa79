"""Landlock: what Linux lets any process forbid itself towards the processes outside of it.

A second wall behind `consumer.sandbox.seccomp` and the lab's own privacy, where the kernel has it:
nothing outside can be looked into, and from ABI 6 (Linux 6.12) on nothing outside can be signalled
or reached by an abstract socket.
"""

from __future__ import annotations

import ctypes
import os

from consumer.sandbox.kernel import syscall

#: Numbers of the calls, the same on all machines.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446

_VERSION = ctypes.c_uint32(1)

#: linux/landlock.h: devices, which nobody here makes, and moving files between folders. Something
#: has to be forbidden for a domain to come to be, and moving is in any unless it is allowed.
_FS_MAKE_CHAR, _FS_MAKE_BLOCK, _FS_REFER = 1 << 6, 1 << 11, 1 << 13
_NET_TCP = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

#: ABI from which on each is known.
_WITH_REFER, _WITH_TCP, _WITH_SCOPES = 2, 4, 6

_RULE_PATH_BENEATH = ctypes.c_int(1)


class _Ruleset(ctypes.Structure):
    """``struct landlock_ruleset_attr``."""

    _fields_ = (
        ("fs", ctypes.c_uint64),
        ("net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    """``struct landlock_path_beneath_attr``."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's ABI of Landlock; 0 where it has none or it is switched off."""
    try:
        return syscall(_CREATE, ctypes.c_void_p(None), ctypes.c_size_t(0), _VERSION)
    except OSError:
        return 0


def enclose() -> int:
    """Close this process and all that it will start in; needs ``no_new_privs``.

    Returns the ABI in use, 0 for none. Raises OSError when the kernel refuses what it offers.
    """
    abi = version()
    if abi == 0:
        return 0
    rules = _Ruleset()
    if abi >= _WITH_SCOPES:
        size, rules.scoped = 24, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS
    else:
        rules.fs = _FS_MAKE_CHAR | _FS_MAKE_BLOCK
        size = 8
        if abi >= _WITH_REFER:
            rules.fs |= _FS_REFER
    if abi >= _WITH_TCP:
        rules.net, size = _NET_TCP, max(size, 16)
    ruleset = syscall(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        if rules.fs & _FS_REFER:
            _allow_moving(ruleset)
        syscall(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return abi


def _allow_moving(ruleset: int) -> None:
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(_FS_REFER, root)
        syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            _RULE_PATH_BENEATH,
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(root)
