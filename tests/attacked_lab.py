"""A lab with credentials in its environment, whose children do as a test says.

A program: an order for a child comes as a line of JSON, and what it answers goes out as one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace

from consumer import bootstrap, settings
from consumer.children import workbench
from consumer.errors import LabError
from consumer.stop_conditions import StopConditions
from tests import child_attack, sticky_runner


def main() -> None:
    if "--without-landlock" in sys.argv:
        workbench.READER = replace(workbench.READER, landlock=False)
        workbench.SEGMENTER = replace(workbench.SEGMENTER, landlock=False)
    found = settings.load()
    with bootstrap.workbench(found, sticky_runner) as bench:
        say({"pid": os.getpid()})
        for line in sys.stdin:
            who, name, arguments, seconds = json.loads(line)
            child = {"reader": bench._reader, "segmenter": bench._segmenter}[who]
            function = getattr(child_attack, name)
            # The kernel takes the thread that starts a process for its parent: any may start one.
            thread = threading.Thread(target=ask, args=(child, seconds, function, arguments))
            thread.start()


def ask(child, seconds, function, arguments) -> None:
    try:
        say({"answer": child.call(seconds, StopConditions(), function, *arguments)})
    except LabError as error:
        say({"error": str(error.code)})
    except Exception as error:  # noqa: BLE001 - the test is to hear of it
        say({"error": type(error).__name__})


def say(word: object) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
