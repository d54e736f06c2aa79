"""``mri-consumer``: the lab's command."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import structlog
import typer

from consumer import bootstrap, logs, settings
from consumer.amqp.errors import LabBroken, TopologyMissing
from consumer.bundle import BundleInvalid
from consumer.checks.checklist import checklist
from consumer.checks.line import State
from consumer.children import segmenter
from consumer.children.workbench import ModelRunner
from consumer.errors import LabError
from consumer.liveness.presence import DrainFailed, PresenceError
from consumer.liveness.presence import drain as drain_lab
from consumer.manual.command import Arguments, destination
from consumer.manual.command import run as run_by_hand
from consumer.sandbox.kernel import keep_memory_private
from consumer.settings import SettingsInvalid

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_COLOURS = {
    State.OK: typer.colors.GREEN,
    State.WARNED: typer.colors.YELLOW,
    State.BAD: typer.colors.RED,
    State.SKIPPED: None,
}


@app.callback()
def lab() -> None:
    """The lab side of Labrelay: takes requests from the broker and stores results."""


@app.command()
def run() -> None:
    """Serve the pool until it is told to stop (SIGTERM or Ctrl-C)."""
    serve()


def serve(model_runner: ModelRunner = segmenter) -> None:
    """Run a lab with the settings of the environment; what keeps it from that is one sentence."""
    try:
        found = settings.load()
        logs.configure(found.log_format)
        bootstrap.run(found, model_runner)
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
            metavar="ID...",
            help="Orthanc series ids: one for each role in the model's order (PRE POST1 POST2 "
            "LAST), or fewer that hold several phases.",
        ),
    ],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    *,
    phase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=[N/]KEYWORD:VALUE",
            help="Say by hand which phase of series N plays a role; once for each role.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A bundle under MODEL_PATH.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; else DEVICE.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Between 0 and 1; otherwise THRESHOLD.")
    ] = None,
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Store SEG and SR in the archive, as a new result; or write them as files only.",
            show_default="upload",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for SEG and SR as files; with --no-upload the current one."),
    ] = None,
    output: Annotated[Path | None, typer.Option(hidden=True)] = None,
    as_json: Annotated[
        bool | None,
        typer.Option(
            "--json/--table",
            help="How the result is printed; otherwise a table on a terminal, else JSON.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Analyse one case by hand; no broker is needed.

    Exit status: 0 done, 2 wrong option or setting, 3 refused, 4 failed and may be tried again,
    130 stopped by Ctrl-C.
    """
    uploads, folder = destination(upload=upload, out=out, output=output)
    raise typer.Exit(
        run_by_hand(
            Arguments(
                # An option takes one value: what follows it without a name are the others.
                series_ids=(*series_ids, *(more or ())),
                phases=tuple(phase or ()),
                model=model,
                device=device,
                threshold=threshold,
                upload=uploads,
                out=folder,
                as_json=as_json,
            )
        )
    )


def _refuse(error: Exception) -> None:
    sys.stderr.write(f"mri-consumer: {error}\n")
    raise typer.Exit(1) from None


def main() -> None:
    """Entry point of the console script."""
    # Before anything else: the environment holds credentials, and the children of a lab that runs
    # here already are of the same user.
    with suppress(OSError):
        keep_memory_private()
    app()


if __name__ == "__main__":
    main()
