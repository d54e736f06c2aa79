"""``mri-consumer``: the lab's command."""

from __future__ import annotations

import sys

import typer

from consumer import bootstrap, logs, settings
from consumer.amqp.errors import LabBroken, TopologyMissing
from consumer.bundle import BundleInvalid
from consumer.errors import LabError
from consumer.settings import SettingsInvalid

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def lab() -> None:
    """The lab side of Labrelay: takes requests from the broker and stores results."""


@app.command()
def run() -> None:
    """Serve the pool until it is told to stop (SIGTERM or Ctrl-C)."""
    logs.configure()
    try:
        bootstrap.run(settings.load())
    except (SettingsInvalid, BundleInvalid, TopologyMissing, LabBroken, LabError) as exc:
        sys.stderr.write(f"mri-consumer: {exc}\n")
        raise typer.Exit(1) from None


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
