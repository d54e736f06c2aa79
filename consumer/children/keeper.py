"""The first process of a child: it starts the one that works, and ends with it all that came of it.

A process that makes itself a session of its own, or whose parent ends, leaves every group; what it
cannot leave is the line of its ancestors. The keeper is where orphans of the child come to
(PR_SET_CHILD_SUBREAPER), so that nothing below it gets away, also when the lab is killed: then the
kernel closes the lab's end of the socket, and the keeper sees it.

Nothing heavy is imported here: the keeper stays small, and the child is a copy of it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from consumer.sandbox.confinement import Confinement, confine_child, confine_family
from consumer.sandbox.kernel import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl

#: Exit status of a keeper whose child was ended by signal n: this plus n, as in a shell.
BY_SIGNAL = 128

#: Seconds between two rounds of ending what came of a child: it may start processes meanwhile.
_ROUND_SECONDS = 0.002

#: What ends the family, beside the lab's end of the socket.
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> NoReturn:
    """Run as ``python -c … NAME SOCKET LAB SOCKETS LANDLOCK``: see `consumer.children.process`."""
    fd, lab, sockets, closed = sys.argv[2:6]
    # A bundle may read options.
    del sys.argv[1:]
    how = Confinement(sockets=sockets == "1", landlock=closed == "1")
    confine_family(how, int(lab))
    with suppress(OSError):
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    bell = _bell()
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _become_child(how, int(fd), keeper)
    status = _wait(child, int(fd), bell)
    _end_all()
    os._exit(status)


def _become_child(how: Confinement, fd: int, keeper: int) -> NoReturn:
    signal.set_wakeup_fd(-1)
    for number in (*_ENDING, signal.SIGCHLD):
        # A computation in C lets a handler in Python wait for minutes: die at once.
        signal.signal(number, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)
    # A session of its own, and not only a group: nothing of it can join its keeper's group then,
    # and end the keeper by a signal to "its own group".
    os.setsid()
    confine_child(how)
    from consumer.children.work import serve

    status = 1
    try:
        serve(fd)
        status = 0
    finally:
        # Whatever it was, its text may quote a file: it goes nowhere.
        os._exit(status)


def _bell() -> int:
    """A descriptor that can be read after each signal that concerns the keeper."""
    listen, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (*_ENDING, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    return listen


def _wait(child: int, fd: int, bell: int) -> int:
    """Return when the child has ended, or is to end: the exit status."""
    poll = select.poll()
    # No event is asked for: POLLHUP comes all the same, once the lab has closed its end.
    poll.register(fd, 0)
    poll.register(bell, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        rung = os.read(bell, 4096) if bell in ready else b""
        status = _reap(child)
        if status is not None:
            return status
        if fd in ready or any(number in rung for number in _ENDING):
            return 0


def _reap(child: int) -> int | None:
    """Take note of whoever has ended, orphans too; of the child, return how."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else BY_SIGNAL - code
    return found


def _end_all() -> None:
    """Return when nothing that came of the child is left.

    The children of whoever ends become ours: the line is cut from above until there is none.
    """
    while True:
        for pid in _children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(_ROUND_SECONDS)


def _children() -> list[int]:
    own = os.getpid()
    try:
        # Thread and process have one id: the keeper has no other thread.
        return [int(pid) for pid in Path(f"/proc/self/task/{own}/children").read_text().split()]
    except OSError:
        # A kernel without CONFIG_PROC_CHILDREN.
        everyone = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()]
        return [pid for pid in everyone if _is_of(own, pid)]


def _is_of(parent: int, pid: int) -> bool:
    with suppress(OSError):
        # proc(5): after the name in parentheses come state and parent.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1]) == parent
    return False
