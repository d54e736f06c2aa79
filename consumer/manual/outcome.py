"""What a run by hand found, as values for a script and as a table for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from consumer.bundle import Bundle
from consumer.manual.choice import ChosenPhase
from consumer.payloads import LesionFacts
from messages.events import InferenceCompleted

#: What is printed of a result.
_PRINTED = (
    "request_id",
    "tumor_detected",
    "volume_voxels",
    "volume_ml",
    "longest_diameter_mm",
    "slices",
    "slices_with_tumor",
    "model",
    "stage_seconds",
)


@dataclass(frozen=True)
class Outcome:
    """A run that ended well."""

    completed: InferenceCompleted
    #: Largest first.
    lesions: tuple[LesionFacts, ...]
    #: Marks that were too small for a lesion.
    left_out: int
    #: Why there are no curves although the phases make one; else empty.
    curves_withheld: str
    chosen: tuple[ChosenPhase, ...]
    bundle: Bundle
    device: str
    threshold: float
    #: Whether SEG and SR are in the archive.
    uploaded: bool
    #: Paths of the files by kind, where a folder was named.
    files: dict[str, str] | None

    def figures(self) -> dict[str, Any]:
        """For a script: plain values, ready for JSON."""
        figures = self.completed.model_dump(mode="json", include=set(_PRINTED))
        figures |= {
            "lesions": [asdict(lesion) for lesion in self.lesions],
            "marks_left_out": self.left_out,
            "curves_withheld": self.curves_withheld,
            "device": self.device,
            "threshold": self.threshold,
            "inputs": [
                {
                    "role": one.role,
                    "series_id": one.examined.facts.series_id,
                    "phase": {"keyword": one.keyword, "value": one.value} if one.keyword else None,
                    "why": one.why,
                }
                for one in self.chosen
            ],
        }
        if self.uploaded:
            figures |= {
                "seg_instance_id": self.completed.seg_instance_id,
                "sr_instance_id": self.completed.sr_instance_id,
            }
        if self.files is not None:
            figures["files"] = self.files
        return figures

    def print_on(self, console: Console) -> None:
        """For a person: tables."""
        console.print(
            Group(
                _pairs("Result", self._result()),
                *([self._lesions()] if self.lesions else []),
                _pairs("Model", self._model()),
                self._inputs(),
                _pairs("Series", self._series()),
                _pairs("Seconds", self._seconds()),
                _pairs("Where", self._where()),
            )
        )

    def _result(self) -> list[tuple[str, str]]:
        completed = self.completed
        label = ", ".join(self.bundle.descriptor.labels)
        return [
            (label, "found" if completed.tumor_detected else "not found"),
            ("volume", f"{completed.volume_ml:.2f} ml, {completed.volume_voxels} voxels"),
            ("longest diameter", f"{completed.longest_diameter_mm:.1f} mm"),
            ("slices", f"{completed.slices_with_tumor} of {completed.slices}"),
            ("marks left out", str(self.left_out)),
            *(
                [("curves", "not stated: the phases are stored on different scales")]
                if self.curves_withheld
                else []
            ),
            ("threshold", f"{self.threshold:g}"),
        ]

    def _lesions(self) -> Table:
        table = _table("Lesions")
        for name in ("lesion", "side", "ml", "mm", "mm in plane", "wash-in", "wash-out"):
            table.add_column(name, justify="left" if name in {"lesion", "side"} else "right")
        for one in self.lesions:
            table.add_row(
                Text(one.label),
                (one.laterality or "-").replace("_", " "),
                f"{one.volume_ml:.2f}",
                f"{one.longest_diameter_mm:.1f}",
                f"{one.longest_in_plane_mm:.1f}",
                "-" if one.wash_in_percent is None else f"{one.wash_in_percent:.0f} %",
                one.wash_out or "-",
            )
        return table

    def _model(self) -> list[tuple[str, str]]:
        model = self.completed.model
        return [
            ("name", model.name),
            ("version", model.version),
            ("SHA-256", model.sha256),
            ("device", self.device),
            ("notice", self.bundle.descriptor.notice),
        ]

    def _inputs(self) -> Table:
        table = _table("Phases")
        for name in ("role", "series", "phase", "why"):
            table.add_column(name, overflow="fold")
        for one in self.chosen:
            table.add_row(*map(Text, (one.role, str(one.number), one.phase, one.why)))
        return table

    def _series(self) -> list[tuple[str, str]]:
        used = {one.number: one.examined.facts.series_id for one in self.chosen}
        return [(str(number), used[number]) for number in sorted(used)]

    def _seconds(self) -> list[tuple[str, str]]:
        spent = self.completed.stage_seconds
        return [
            *((part, f"{seconds:8.2f}") for part, seconds in spent.items()),
            ("in all", f"{sum(spent.values()):8.2f}"),
        ]

    def _where(self) -> list[tuple[str, str]]:
        ids = {"SEG": self.completed.seg_instance_id, "SR": self.completed.sr_instance_id}
        stored = [(f"{kind} in the archive", key) for kind, key in ids.items() if key is not None]
        written = [(f"{kind.upper()} file", path) for kind, path in (self.files or {}).items()]
        return [
            ("request", str(self.completed.request_id)),
            *(stored if self.uploaded else []),
            *written,
        ]


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> RenderableType:
    table = _table(title)
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
