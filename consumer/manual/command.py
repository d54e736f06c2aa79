"""The command itself: settings, terminal and signals around one run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console

from consumer import logs, settings
from consumer.infer import infer
from consumer.manual.asked import Asked, by_hand
from consumer.manual.ends import ENDS, Status, end_of
from consumer.manual.interrupts import Interrupts
from consumer.manual.outcome import Outcome
from consumer.manual.show import KEPT_WORDS, WORDS, show_on

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Options:
    """What was typed."""

    series_ids: tuple[str, ...]
    #: Each as `consumer.manual.asked.ByHand` reads it.
    phases: tuple[str, ...]
    model: str | None
    #: None leaves it to the settings, as with the threshold.
    device: str | None
    threshold: float | None
    upload: bool
    out: Path | None
    #: None: a table on a terminal, JSON elsewhere.
    as_json: bool | None


def destination(
    *, upload: bool | None, out: Path | None, output: Path | None
) -> tuple[bool, Path | None]:
    """Whether to upload, and the folder for files if there is one.

    `output` is the option's older name. It meant files alone unless ``--upload`` stood beside it,
    and still does: a script that uses it must not begin to store.
    """
    uploads = upload if upload is not None else output is None
    return uploads, out or output or (None if uploads else Path())


def run(options: Options) -> int:
    """Run, print, and return the exit status."""
    # Until the settings say how: a fault of reading them is told without its text, too.
    logs.configure()
    with Interrupts() as interrupts:
        try:
            outcome = _outcome(options, interrupts)
        except ENDS as error:
            status, sentence = end_of(error, interrupts)
            sys.stderr.write(f"mri-consumer: {sentence}\n")
            return status
        except Exception:
            # Its text may quote a DICOM value: the log has the type and the places.
            log.exception("this run met a fault of the program")
            sys.stderr.write("mri-consumer: fault: please report the line above\n")
            return Status.FAULT
    # Outside: who stops the printing stops nothing else.
    console = Console(highlight=False)
    if options.as_json or (options.as_json is None and not console.is_terminal):
        sys.stdout.write(json.dumps(outcome.figures(), indent=2) + "\n")
    else:
        outcome.print_on(console)
    return Status.DONE


def _outcome(options: Options, interrupts: Interrupts) -> Outcome:
    found = settings.load_analysis(
        **({"device": options.device} if options.device else {}),
        **({"threshold": options.threshold} if options.threshold is not None else {}),
    )
    logs.configure(found.log_format)
    asked = Asked(
        series_ids=options.series_ids,
        model=options.model,
        threshold=found.threshold,
        upload=options.upload,
        out=options.out,
        phases=by_hand(options.phases),
    )
    terminal = Console(stderr=True, highlight=False)
    with show_on(terminal, WORDS if asked.upload else KEPT_WORDS) as show:
        return infer(found, asked, show=show, interrupts=interrupts)
