"""``mri-web recheck``: today's rules over all stored results. It changes nothing."""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from web.database import why_not_migrated
from web.inference.recheck import Rechecked, all_results, recheck
from web.orthanc.archive import archive
from web.orthanc.errors import ArchiveError
from web.orthanc.time_budget import MOST_UNANSWERED
from web.refusals import NotNow

#: Exit statuses beside 0: something was found; not everything could be looked at.
FOUND, UNFINISHED = 1, 2

#: Of a line of the report, in this order; also the table's.
COLUMNS = (
    "request_id",
    "study_id",
    "model",
    "finished_at",
    "input_state",
    "result_state",
    "code",
    "sentence",
)


#: How every line of a report begins.
_BEGINNING = b'{"request_id"'


class Command(BaseCommand):
    """Interrupted, it goes on where it was when it is given the same report."""

    help = (
        "Run today's rules over all results that are not withdrawn, and list those that would now "
        "be refused, whose images have changed, or that are gone. Nothing is changed. Exit status: "
        "0 nothing found, 1 something found, 2 not finished (run it again with the same --report)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to write, and how to show."""
        parser.add_argument(
            "--report",
            type=Path,
            help="File of JSON lines, one for each result that was looked at. Those that it holds "
            "already are not looked at again.",
        )
        parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
        parser.add_argument("--all", action="store_true", help="List what is as it should be, too.")

    @no_translations
    def handle(self, *_args: Any, **options: Any) -> None:
        """Look at each, then list."""
        if problem := why_not_migrated():
            raise CommandError(f"{problem}; or another database is meant (VAR_DIR, DATABASE_URL)")
        lines = {}
        unfinished = ""
        report: Path | None = options["report"]
        try:
            if report is not None:
                lines = _begun(report)
            unfinished = self._look(lines, report)
        except OSError as exc:
            raise CommandError(f"the report cannot be written: {exc.strerror}") from None
        found = [line for line in lines.values() if line["found"]]
        self._list(list(lines.values()) if options["all"] else found, options["format"])
        self.stderr.write(f"looked at: {len(lines)}, to be looked into: {len(found)}")
        if unfinished:
            self.stderr.write(unfinished)
            sys.exit(UNFINISHED)
        if found:
            sys.exit(FOUND)

    def _look(self, lines: dict[str, dict[str, Any]], report: Path | None) -> str:
        """Add a line for each result; why not for all of them, or empty."""
        left_out = in_a_row = 0
        for row in all_results():
            if str(row.pk) in lines:
                continue
            try:
                line = _line(recheck(row, archive()))
            except (ArchiveError, NotNow):
                # Of this one alone, perhaps: a file that cannot be read, a series that is damaged.
                self.stderr.write(f"{row.pk}: the archive did not answer")
                left_out, in_a_row = left_out + 1, in_a_row + 1
                if in_a_row == MOST_UNANSWERED:
                    return "the archive does not answer: run it again with the same --report"
                continue
            except (KeyError, TypeError, ValueError):
                # Its row is another version's, or damaged. It says nothing of the archive.
                self.stderr.write(f"{row.pk}: what is stored of this request cannot be read")
                left_out += 1
                continue
            in_a_row = 0
            lines[str(row.pk)] = line
            if report is not None:
                with report.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if left_out:
            return f"could not be looked at: {left_out}; run it again with the same --report"
        return ""

    def _list(self, lines: list[dict[str, Any]], form: str) -> None:
        if form == "json":
            self.stdout.write(json.dumps(lines, indent=2, ensure_ascii=False))
            return
        if form == "csv":
            table = csv.DictWriter(self.stdout, COLUMNS, extrasaction="ignore")
            table.writeheader()
            table.writerows(lines)
            return
        for line in lines:
            self.stdout.write("\t".join(str(line[name] or "-") for name in COLUMNS))


def _line(found: Rechecked) -> dict[str, Any]:
    line = {key: value if value is None else str(value) for key, value in asdict(found).items()}
    if found.finished_at is not None:
        line["finished_at"] = found.finished_at.isoformat(timespec="seconds")
    return {**line, "found": found.is_found}


def _begun(report: Path) -> dict[str, dict[str, Any]]:
    """The lines of an earlier run by request; half a line at the end is cut off."""
    if not report.exists():
        report.touch(mode=0o600)
        return {}
    texts = report.read_bytes().splitlines(keepends=True)
    # The run before may have been killed while it wrote its last line.
    last = texts[-1] if texts else b"\n"
    torn = not last.endswith(b"\n") and _BEGINNING.startswith(last[: len(_BEGINNING)])
    whole = texts[:-1] if torn else texts
    lines = [_read(text) for text in whole]
    if None in lines:
        raise CommandError("the file is no report of this command")
    os.truncate(report, sum(map(len, whole)))
    return {line["request_id"]: line for line in lines if line is not None}


def _read(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(line, dict) and text.endswith(b"\n") and set(COLUMNS) <= set(line)
    return line if whole else None
