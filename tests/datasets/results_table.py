"""The tables of docs/datasets.md, from what ``make datasets`` has kept."""

from __future__ import annotations

from typing import Any


def findings(lines: list[dict[str, Any]]) -> list[str]:
    """What must not be, in a line each."""
    found = []
    for line in lines:
        if line["kind"] == "series":
            asked = line["inputs"]
        else:
            asked = [click["asked"] for click in line["clicks"] if click["complete"]]
        for row in asked:
            where = f"{line['place']} [{line.get('series', 'study')}] {row['input']}"
            found += [
                f"{where}: {name} {said}"
                for name, said in row.get("readers", {}).items()
                if said.startswith("disagrees")
            ]
            if row["sides"].startswith("only"):
                lab, site = (
                    f"{row[one]['code']} {row[one]['sentence']}" for one in ("lab", "site")
                )
                found.append(f"{where}: {row['sides']}: lab {lab}/ site {site}")
            if row["class_names"]:
                found.append(f"{where}: class names {row['class_names']}")
    return found
