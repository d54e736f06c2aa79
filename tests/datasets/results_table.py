"""The tables of docs/datasets.md, from what ``make datasets`` has kept.

``python -m tests.datasets.results_table [FOLDER] [FOLDER BEFORE]``: with the results of an earlier
commit also what was read there and is no longer.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.datasets.catalogue import SETS
from tests.datasets.fetching import HOME
from tests.datasets.record import read

#: Lines of details for one set; of more it is said how many there are.
_DETAILS = 8

#: What differs from series to series in sentences that say the same: UIDs, numbers.
_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b|\b2\.25\.\d+\b")
#: What dciodvfy says of the UIDs of the source; ours begin with 2.25.
_SOURCE_UID = re.compile(r'UID.*["<](?!2\.25\.)[^" ]+[">]')
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def main() -> int:
    """Print the tables as Markdown."""
    folders = [Path(text) for text in sys.argv[1:]] or [HOME / "results"]
    sys.stdout.write(tables(*folders[:2]))
    return 0


def findings(lines: list[dict[str, Any]]) -> list[str]:
    """What must not be, in a line each."""
    found = []
    for line, row in _rows(lines):
        where = f"{line['place']} [{line.get('series', 'study')}] {row['input']}"
        found += [f"{where}: {name} {said}" for name, said in _disagreeing(row)]
        if row["sides"].startswith("only"):
            lab, site = (f"{row[one]['code']} {row[one]['sentence']}" for one in ("lab", "site"))
            found.append(f"{where}: {row['sides']}: lab {lab}/ site {site}")
        found += [f"{where}: {name} in a sentence" for name in row["class_names"]]
        if not _valid(row):
            made = row["result"]
            found.append(
                f"{where}: result {made['code']} {made['sentence']} {_ours(made['errors'])}"
            )
    return found


def _valid(row: dict[str, Any]) -> bool:
    """Whether the result of the input, where one was made, is there and without an error of ours.

    It must name the source by its UIDs, whatever these are.
    """
    made = row.get("result")
    return made is None or not (made["code"] or _ours(made["errors"]))


def _ours(errors: list[str]) -> list[str]:
    kept = [error for error in errors if not _SOURCE_UID.search(error)]
    # Said once more where one value or several are wrong.
    return [] if all(error.endswith("for Value Representations") for error in kept) else kept


def tables(folder: Path, before: Path | None = None) -> str:
    """The circumstances, a line for each set, and what was refused or differs in each."""
    read_sets = {one.name: read(folder / f"{one.folder}.jsonl") for one in SETS}
    # Where large files cannot be had, a set may hold none that is read here.
    had = {name: lines for name, lines in read_sets.items() if len(lines) > 1}
    every = [line for lines in had.values() for line in lines[1:]]
    parts = [
        _head([lines[0] for lines in had.values()], every),
        _sets_table(had),
        *(
            _details(name, lines[1:])
            for name, lines in had.items()
            if any(line["kind"] == "series" for line in lines)
        ),
    ]
    missing = [name for name in read_sets if name not in had]
    if missing:
        parts.append("Not in this run: " + ", ".join(missing) + ".")
    if before is not None:
        parts.append(_no_longer(folder, before))
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each input that was asked for, with the line that it is of."""
    for line in lines:
        if line["kind"] == "series":
            yield from ((line, row) for row in line["inputs"])
        elif line["kind"] == "study":
            yield from ((line, one["asked"]) for one in line["clicks"] if one["complete"])


def _disagreeing(row: dict[str, Any]) -> list[tuple[str, str]]:
    said = row.get("readers", {})
    return [(name, text) for name, text in said.items() if text.startswith("disagrees")]


def _head(heads: list[dict[str, Any]], every: list[dict[str, Any]]) -> str:
    commits = sorted({f"{head['commit']}"[:12] for head in heads})
    changed = " with changes" if any(head["dirty"] for head in heads) else ""
    dates = sorted(str(head["date"])[:10] for head in heads)
    versions = heads[0]["versions"] if heads else {}
    series = [line for line in every if line["kind"] == "series"]
    rows = [row for _, row in _rows(every)]
    silent = sum(bool(_disagreeing(row)) for row in rows)
    taken = sum(not row["lab"]["code"] for row in rows)
    differ = sum(row["sides"].startswith("only") for row in rows)
    named = sum(bool(row["class_names"]) for row in rows)
    made = [row for row in rows if "result" in row]
    invalid = sum(not _valid(row) for row in made)
    return (
        f"Commit {', '.join(commits)}{changed}, {dates[-1] if dates else ''}, Python "
        f"{versions.get('python')}, dcm2niix {versions.get('dcm2niix')}. {len(heads)} sets, "
        f"{len(series)} series, of which {sum(line['modality'] == 'MR' for line in series)} say "
        f"that they are MR; {len(rows)} inputs, of which {taken} were read and "
        f"{len(rows) - taken} refused. {_count(silent, 'silent disagreement')}; "
        f"{_count(differ, 'input')} that one side takes and the other refuses without a word "
        f"before; {_count(named, 'sentence')} with the name of an exception. Of {len(made)} inputs "
        f"SEG and report were made: dciodvfy finds an error in those of {invalid}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sets_table(had: dict[str, list[dict[str, Any]]]) -> str:
    heads = (
        *("set", "what it shows", "series", "what the lab said"),
        *("what the site said before the click", "beside two readers"),
    )
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for one in SETS:
        if one.name in had:
            own = had[one.name][1:]
            series = [line for line in own if line["kind"] == "series"]
            rows = [row for _, row in _rows(own)]
            cells = (
                one.name,
                one.shows,
                len(series),
                _tally(_lab(row) for row in rows),
                _tally(_site(line) for line in series),
                _readers(rows),
            )
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines)


def _lab(row: dict[str, Any]) -> str:
    return str(row["lab"]["code"]) or "read"


def _site(line: dict[str, Any]) -> str:
    """What a reader meets on the page of the study."""
    first = line["inputs"][0]["site"]
    if first is None:
        return "not stored by the archive"
    if line["left_out"]:
        return f"left out: {line['left_out']}"
    if first["code"] in ("", "several_phases"):
        return "offered" if line["offered"] else f"not proposed: {line['problem']}"
    return f"refused: {first['code']}"


def _readers(rows: list[dict[str, Any]]) -> str:
    found = []
    for name in ("SimpleITK", "dcm2niix"):
        said = [row["readers"][name] for row in rows if name in row.get("readers", {})]
        if said:
            words = _tally(
                "agrees" if one.startswith("agrees") else one.partition(":")[0] for one in said
            )
            found.append(f"{name} {words}")
    return "; ".join(found) or "nothing was read"


def _tally(words: Iterable[str]) -> str:
    counted = Counter(words).most_common()
    return ", ".join(f"{number} {word}" for word, number in counted)


def _details(name: str, lines: list[dict[str, Any]]) -> str:
    """What was refused, what differs and what a reader cannot compare, each once."""
    found: dict[str, list[str]] = {}
    for line, row in _rows(lines):
        for key, text in _particulars(line, row):
            found.setdefault(key, []).append(text)
    if not found:
        return ""
    shown = [
        f"- {texts[0]}" + (f" ({len(texts)} times)" if len(texts) > 1 else "")
        for texts in found.values()
    ]
    more = len(shown) - _DETAILS
    shown = shown[:_DETAILS] + ([f"- and {more} more like these"] if more > 0 else [])
    return "\n".join([f"**{name}**", "", *shown])


def _particulars(line: dict[str, Any], row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    where = f"`{line['place']}`, {row['input']}"
    lab, site = row["lab"], row["site"]
    if lab["code"] and not _expected(line, row):
        said = _plain(lab["sentence"])
        before = _before(line, row)
        yield (
            _NUMBER.sub("#", f"{lab['code']} {said} {row['sides']} {before}"),
            f"{where}: `{lab['code']}`, {said}; before the click: {before}",
        )
    elif not lab["code"] and site is not None and site["code"]:
        said = f"read, and the site refuses: `{site['code']}`, {_plain(site['sentence'])}"
        yield _NUMBER.sub("#", said), f"{where}: {said}"
    for name, text in row.get("readers", {}).items():
        if text != "agrees":
            yield _NUMBER.sub("#", f"{name} {text}"), f"{where}: {name} {text}"
    if not _valid(row):
        yield "result", f"{where}: its SEG or report is refused or not valid"
    for word in row["class_names"]:
        yield word, f"{where}: **{word}** in a sentence"


def _expected(line: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether it was refused on both sides as what it is: no MR, or several phases as one."""
    said = (row["site"] or {}).get("code")
    no_mr = line.get("modality") != "MR" and row["lab"]["code"] == "unsupported_image"
    return said is not None and (
        (no_mr and said == "unsupported_image") or said in ("several_phases", "wrong_phase_count")
    )


def _before(line: dict[str, Any], row: dict[str, Any]) -> str:
    site = row["site"]
    if site is None:
        return "not stored by the archive"
    if site["code"]:
        return f"`{site['code']}`, {_plain(site['sentence'])}"
    if line.get("left_out"):
        return f"left out, {line['left_out']}"
    if site["doubts"]:
        return f"doubted, {_plain(site['doubts'][0])}"
    return "**nothing**"


def _plain(text: str) -> str:
    return _UID.sub("…", text)


def _no_longer(folder: Path, before: Path) -> str:
    """What was read at an earlier commit and is refused now."""
    lost: dict[str, list[str]] = {}
    total = 0
    for one in SETS:
        earlier = {
            (line.get("series", line.get("study")), row["input"]): row
            for line, row in _rows(read(before / f"{one.folder}.jsonl"))
        }
        for line, row in _rows(read(folder / f"{one.folder}.jsonl")):
            then = earlier.get((line.get("series", line.get("study")), row["input"]))
            if then is not None and not then["lab"]["code"] and row["lab"]["code"]:
                total += 1
                said = f"`{row['lab']['code']}`, {_plain(row['lab']['sentence'])}"
                wrong = _how(then)
                key = f"{one.name} {row['lab']['code']} {wrong} {_NUMBER.sub('#', said)}"
                lost.setdefault(key, []).append(
                    f"{one.name} `{line['place']}`, {row['input']}: {wrong}, now {said}"
                )
    shown = [
        f"- {texts[0]}" + (f" ({len(texts)} times)" if len(texts) > 1 else "")
        for texts in lost.values()
    ]
    return "\n".join([f"Read before and refused now: {total} inputs.", "", *shown])


def _how(row: dict[str, Any]) -> str:
    if _disagreeing(row):
        return "was read otherwise than by another reader"
    agreed = any(text.startswith("agrees") for text in row.get("readers", {}).values())
    return "was read as another reader does" if agreed else "was read, with nothing to compare"


def _cell(value: object) -> str:
    return str(value).replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
