"""A peer in a process of its own that stays warm: a line in, an answer out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from infra.local.settings import REPOSITORY

#: What a line of the process begins with when it is an answer.
MARK = "answer "


@contextmanager
def line_process(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Callable[[str], str]]:
    """Run a command; yields what sends it a line and returns its answer.

    The process ends with its input, also when we die.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=REPOSITORY,
        text=True,
    ) as process:
        sink, source = process.stdin, process.stdout
        if sink is None or source is None:
            raise RuntimeError("the process has no pipes")

        def ask(line: str) -> str:
            sink.write(line + "\n")
            sink.flush()
            # Libraries print too; an answer begins with its mark.
            for answer in source:
                if answer.startswith(MARK):
                    return answer.removeprefix(MARK)
            raise RuntimeError(f"{' '.join(command)} ended with {process.wait()} and no answer")

        yield ask
