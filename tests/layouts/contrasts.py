"""Series and images that look like phases and are other contrasts, differences or maps of them."""

from __future__ import annotations

from messages.phases import LeftOut, Problem
from tests.layouts.siemens import GRADIENT_ECHO, M, measured
from tests.layouts.tags import Layout, Series, Tags, stack, times


def _mixed(name: str, kinds: list[Tags], description: str = "t1_vibe_dyn") -> Layout:
    """All in one series, with times of their own: what would be taken for four phases."""
    at = times("102000", len(kinds), 30.0)
    images = [
        {"AcquisitionTime": "101500", "AcquisitionNumber": "1", "ContentTime": content, **kind}
        for content, kind in zip(at, kinds, strict=True)
    ]
    return Layout(
        name,
        (stack("dyn", description, images, **GRADIENT_ECHO),),
        problem=Problem.UNCLEAR_PARTS,
        left_out={"dyn": LeftOut.UNCLEAR},
    )


def typed(*values: str) -> list[Tags]:
    """Kinds that differ in their image type."""
    return [{"ImageType": value} for value in values]


def _enhanced_subtractions() -> Layout:
    frames = [
        {
            "TemporalPositionIndex": str(n),
            "AcquisitionTime": at,
            "ImageType": f"{'ORIGINAL' if n < 5 else 'DERIVED'}\\PRIMARY\\DYNAMIC\\"
            + ("NONE" if n < 5 else "SUBTRACTION"),
        }
        for n, at in enumerate(times("101500", 8, 60.0), 1)
    ]
    made = stack("dyn", "dyn_eTHRIVE", frames)
    return Layout(
        "Enhanced MR with the subtractions as frames behind the phases",
        (Series("dyn", made.tags, made.images, multi_frame=True),),
        problem=Problem.UNCLEAR_PARTS,
        left_out={"dyn": LeftOut.UNCLEAR},
    )


def _with_maps() -> Layout:
    """Siemens writes maps beside the run, on its grid, with its time."""
    phases = [
        stack(f"ph{n}", "t1_vibe_dyn", [tags], **GRADIENT_ECHO)
        for n, tags in enumerate(measured("103000", 5, 60.0))
    ]
    at: list[Tags] = [{"AcquisitionNumber": "1", "AcquisitionTime": "103500"}]
    maps = {
        "wi": ("t1_vibe_dyn", "DERIVED\\PRIMARY\\WI"),
        "wo": ("t1_vibe_dyn_WO", M),
        "enh": ("t1_vibe_dyn", "DERIVED\\PRIMARY\\ENHANCEMENT"),
        "ser": ("SER", M),
        "rel": ("Rel Enh", M),
        "mipt": ("MIPT", M),
        "dsub": ("t1_vibe_dyn dSUB", M),
        "pair": ("Dyn 3 - Dyn 1", M),
        # Whose name and type say nothing.
        "moco": ("t1_vibe_dyn result", "DERIVED\\PRIMARY\\M\\ND\\NORM"),
        "timing": ("test inj", M),
    }
    left_out = {
        **dict.fromkeys(("wi", "wo", "enh", "ser", "rel"), LeftOut.PARAMETER_MAP),
        **dict.fromkeys(("dsub", "pair"), LeftOut.SUBTRACTION),
        "mipt": LeftOut.PROJECTION,
        "moco": LeftOut.DERIVED,
        "timing": LeftOut.NOT_DYNAMIC,
        "ph3": LeftOut.BETWEEN,
    }
    return Layout(
        "Maps, differences and a registration on the grid of the run",
        (
            *phases,
            *(
                stack(key, name, at, **{**GRADIENT_ECHO, "ImageType": kind})
                for key, (name, kind) in maps.items()
            ),
        ),
        phases=tuple((f"ph{n}", "", "") for n in (0, 1, 2, 4)),
        seconds=(0.0, 60.0, 120.0, 240.0),
        left_out=left_out,
    )


LAYOUTS = (
    _mixed(
        "Dixon: water, in-phase, opposed-phase and fat images in one series",
        typed(*(f"ORIGINAL\\PRIMARY\\M\\ND\\{part}" for part in ("W", "IP", "OP", "F"))),
    ),
    _mixed(
        "Two echoes of two phases in one series",
        [{"EchoTime": echo} for echo in ("1.23", "2.46", "1.23", "2.46")],
    ),
    _mixed(
        "Magnitude and phase images in one series",
        typed(*(f"ORIGINAL\\PRIMARY\\{part}\\ND" for part in "MPMP")),
    ),
    _mixed(
        "Subtractions behind the phases of one series",
        typed(*[M] * 5, *["DERIVED\\PRIMARY\\M\\ND\\SUB"] * 4),
    ),
    _enhanced_subtractions(),
    _with_maps(),
)
