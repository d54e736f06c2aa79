"""``mri-consumer``: the lab's command."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer

from consumer import bootstrap, logs, settings
from consumer.amqp.errors import LabBroken, TopologyMissing
from consumer.bundle import BundleInvalid
from consumer.checks.checklist import checklist
from consumer.checks.line import State
from consumer.drain import DrainFailed
from consumer.drain import drain as drain_lab
from consumer.errors import LabError, LabStopping
from consumer.infer import Asked, CannotInfer
from consumer.infer import infer as analyse
from consumer.presence import PresenceError
from consumer.settings import SettingsInvalid

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_COLOURS = {State.OK: typer.colors.GREEN, State.BAD: typer.colors.RED, State.SKIPPED: None}


@app.callback()
def lab() -> None:
    """The lab side of Labrelay: takes requests from the broker and stores results."""


@app.command()
def run() -> None:
    """Serve the pool until it is told to stop (SIGTERM or Ctrl-C)."""
    try:
        found = settings.load()
        logs.configure(found.log_format)
        bootstrap.run(found)
    except (
        SettingsInvalid,
        BundleInvalid,
        PresenceError,
        TopologyMissing,
        LabBroken,
        LabError,
    ) as exc:
        _refuse(exc)


@app.command()
def drain() -> None:
    """Have the lab that runs here take no more, finish what it holds and end; wait for it."""
    try:
        found = settings.load()
        drain_lab(found.run_dir, found.lab_name, say=typer.echo)
    except (SettingsInvalid, DrainFailed) as exc:
        _refuse(exc)


@app.command()
def check(
    *,
    load: Annotated[bool, typer.Option(help="Start torch, look at DEVICE, load models.")] = True,
    store: Annotated[bool, typer.Option(help="Store an object in the archive, delete it.")] = True,
) -> None:
    """Look at everything that this lab needs; exit 1 when something must be mended."""
    # The lines say it all; what the parts log meanwhile would stand between them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    good = True
    for line in checklist(load=load, store=store):
        good = good and line.state is not State.BAD
        typer.secho(str(line), fg=_COLOURS[line.state])
    if not good:
        raise typer.Exit(1)


@app.command()
def infer(
    series_ids: Annotated[
        list[str],
        typer.Option(
            metavar="ID...", help="Orthanc series ids in the model's order: PRE POST1 POST2 LAST."
        ),
    ],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    *,
    model: Annotated[str | None, typer.Option(help="A bundle under MODEL_PATH.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; else DEVICE.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Between 0 and 1; otherwise THRESHOLD.")
    ] = None,
    upload: Annotated[
        bool, typer.Option(help="Store SEG and SR in the archive, as a new result.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for SEG and SR.")] = Path(),
) -> None:
    """Analyse the series of one case by hand and print the figures as JSON; no broker is needed."""
    try:
        found = settings.load_analysis(
            **({"device": device} if device else {}),
            **({"threshold": threshold} if threshold is not None else {}),
        )
        logs.configure(found.log_format)
        asked = Asked(
            # An option takes one value: what follows it without a name are the others.
            series_ids=(*series_ids, *(more or ())),
            model=model,
            threshold=found.threshold,
            upload=upload,
            output=output,
        )
        figures = analyse(found, asked)
    except (SettingsInvalid, BundleInvalid, CannotInfer, LabError, LabStopping) as exc:
        _refuse(exc)
    typer.echo(json.dumps(figures, indent=2))


def _refuse(error: Exception) -> None:
    sys.stderr.write(f"mri-consumer: {error}\n")
    raise typer.Exit(1) from None


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
