"""``make datasets``: what lab and site say of public sets, beside two independent readers.

``python -m tests.datasets [SET]...`` runs a part; ``--list`` names the sets, ``--fetch`` only
brings them. What was said is kept in ``var/datasets/results``, and a run that was broken off goes
on where it was. ``python -m tests.datasets.results_table`` makes the tables of docs/datasets.md of
it. Exit status 0 when nothing was read otherwise than another reader reads it, site and lab agree,
and no sentence names an exception.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import django
import structlog

from infra.local.orthanc import OrthancNode
from infra.local.passwords import stored_passwords
from infra.local.ports import free_ports
from tests.datasets.catalogue import DataSet, named
from tests.datasets.fetching import HOME, Fetched, NotFetched, fetched
from tests.datasets.finding import FoundSeries, series_below
from tests.datasets.record import Record
from tests.faults.circumstances import circumstances


def main() -> int:
    """Run what the command line names."""
    arguments = _arguments()
    sets = named(arguments.sets)
    if arguments.list:
        for one in sets:
            _say(f"{one.name}: {one.shows} ({one.licence or 'no licence file'})")
        return 0
    had: list[tuple[DataSet, Fetched]] = []
    for one in sets:
        try:
            had.append((one, fetched(one)))
        except NotFetched as missing:
            _say(f"{one.name}: {missing}")
    _say(f"{len(had)} of {len(sets)} sets are here")
    if arguments.fetch:
        return 0 if len(had) == len(sets) else 1
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - Django's way
    django.setup()
    # The site logs each doubtful choice; here they are in the record.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return run(had, arguments.results)


def run(sets: list[tuple[DataSet, Fetched]], results: Path) -> int:
    """Judge every series of the sets; the exit status."""
    from tests.datasets.judging import Tools, judged
    from tests.datasets.readers import SimpleItk, dcm2niix_version
    from tests.datasets.results_table import findings
    from tests.datasets.sides import Archive, Lab

    head = circumstances()
    head["versions"] |= {"dcm2niix": dcm2niix_version()}
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="labrelay-datasets-") as root:
        node = _node(Path(root))
        lab, itk = Lab(), SimpleItk()
        try:
            node.start()
            node.wait_ready()
            tools = Tools(Archive(node), lab, itk)
            for one, here in sets:
                record = Record(
                    results / f"{one.folder}.jsonl",
                    {"kind": "head", "set": one.name, "source": here.commit, **head},
                )
                series = series_below(
                    here.folder, HOME / "unpacked" / f"{one.folder}@{here.commit[:8]}"
                )
                for study in _studies(series):
                    first = study[0]
                    if not record.has_study(first.place, first.copy, _study_key(first)):
                        record.keep(judged(tools, one.name, study))
                found = findings(record.lines)
                bad += found
                _say(f"{one.name}: {len(series)} series, {len(found)} findings")
                for line in found:
                    _say(f"    {line}")
            tools.archive.close()
        finally:
            itk.stop()
            lab.stop()
            node.stop()
    _say(f"{len(bad)} findings")
    return 1 if bad else 0


def _node(root: Path) -> OrthancNode:
    password = stored_passwords(root / "secrets.json", ["orthanc"])["orthanc"]
    (port,) = free_ports(1)
    return OrthancNode(root, http_port=port, user="labrelay", password=password)


def _studies(series: list[FoundSeries]) -> list[list[FoundSeries]]:
    """The series of each study together; of what is there several times each copy by itself."""

    def study(one: FoundSeries) -> tuple[int, str, str]:
        return one.copy, one.study_uid, "" if one.copy == 0 else one.series_uid

    return [list(members) for _, members in groupby(sorted(series, key=study), key=study)]


def _study_key(one: FoundSeries) -> Any:
    import hashlib

    return hashlib.sha256(one.study_uid.encode()).hexdigest()[:12]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.datasets", description=__doc__)
    parser.add_argument("sets", nargs="*", help="names of sets, with or without their owner")
    parser.add_argument("--list", action="store_true", help="name the sets and do nothing")
    parser.add_argument("--fetch", action="store_true", help="bring the sets and do no more")
    parser.add_argument("--results", type=Path, default=HOME / "results", help="a folder")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
