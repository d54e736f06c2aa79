"""What the lab's children cannot do on this machine: asked in processes that are held alike."""

from __future__ import annotations

import os
from collections.abc import Iterator

from consumer.checks.line import Line, State, bad, ok
from consumer.children.child import Child
from consumer.children.workbench import READER, SEGMENTER
from consumer.errors import InferenceTimeout
from consumer.sandbox.self_check import SandboxReport, check_sandbox
from consumer.settings import AnalysisSettings, child_environment, is_of_the_lab
from consumer.stop_conditions import StopConditions

#: Seconds for a process that loads nothing.
_SECONDS = 60.0

#: ABI of Landlock from which on a child reaches nothing outside by a signal or an abstract socket.
_WITH_SCOPES = 6


def check(settings: AnalysisSettings) -> Iterator[Line]:
    """Look from inside a reader and a segmenter, without their libraries."""
    environment = child_environment(settings.child_environment)
    seen = []
    for name, how in (("reader", READER), ("segmenter", SEGMENTER)):
        child = Child(name, on_timeout=_too_slow, how=how, environment=environment)
        try:
            seen.append(child.call(_SECONDS, StopConditions(), check_sandbox, os.getpid()))
        finally:
            child.stop()
    yield from lines(*seen)


def lines(*seen: SandboxReport) -> Iterator[Line]:
    """A line for each wall, red where it does not hold in one of the children."""
    yield _environment(seen)
    yield _rights(seen)
    yield _network(seen)
    yield _lab(seen)
    yield _settings(seen)
    yield _processes(seen)
    yield _landlock(seen)


def _environment(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "children's environment"
    found = sorted({name for one in seen for name in one.environment if is_of_the_lab(name)})
    if found:
        return bad(noun, f"it holds {', '.join(found)}", "take them out of CHILD_ENVIRONMENT")
    return ok(noun, "it holds no credentials of the lab")


def _rights(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "children's rights"
    if not all(one.no_new_privileges for one in seen):
        return bad(
            noun,
            "what they start may gain rights (no_new_privs is not set)",
            "set NoNewPrivileges=true in the unit, or a newer kernel",
        )
    if any(one.capabilities for one in seen):
        return bad(
            noun, "they have capabilities of root", "run the lab as a user of its own, not as root"
        )
    return ok(noun, "no_new_privs, no capabilities")


def _network(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "children's network"
    ways = sorted({way for one in seen for way in one.network})
    if ways:
        return bad(
            noun,
            f"open: {', '.join(ways)}",
            "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64, and a container whose "
            "profile allows seccomp(2); until then the machine's firewall decides",
        )
    return ok(noun, "none")


def _lab(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "lab's memory"
    files = sorted({file for one in seen for file in one.readable})
    if files:
        return bad(
            noun,
            f"children can read {', '.join(files)}",
            "run the lab as a user of its own, not as root",
        )
    if any(one.signals for one in seen):
        return bad(
            noun,
            "children cannot read it, and can end the lab",
            "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64",
        )
    return ok(noun, "children can neither read it nor end the lab")


def _settings(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "lab's settings"
    files = sorted({file for one in seen for file in one.settings})
    if files:
        return bad(
            noun,
            f"children can read {', '.join(files)}, which may hold passwords",
            f"chown root: {files[0]} && chmod 600 {files[0]}, and run the lab as a user of its own",
        )
    return ok(noun, "children can read none of the files that hold them")


def _processes(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "children's processes"
    if not all(one.kept for one in seen):
        return bad(
            noun,
            "what a bundle starts can outlive it",
            "Linux 3.4 or newer; under systemd they end with the unit",
        )
    return ok(noun, "what they start ends with them")


def _landlock(seen: tuple[SandboxReport, ...]) -> Line:
    noun = "Landlock"
    abi = min(one.landlock for one in seen)
    if abi == 0:
        return Line(State.SKIPPED, noun, "this kernel has none; the walls above stand alone")
    if abi < _WITH_SCOPES:
        return ok(noun, "children can look into no process of this user")
    return ok(noun, "children can look into no process of this user, and signal none")


def _too_slow(seconds: float) -> InferenceTimeout:
    return InferenceTimeout(f"a process did not answer within {seconds:.0f} s")
