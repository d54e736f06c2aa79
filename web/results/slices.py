"""One slice as a picture, with one window for its whole phase."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from web.orthanc.archive import Orthanc, archive
from web.orthanc.connection import ARRAY, PICTURE
from web.orthanc.errors import ArchiveUnavailable
from web.orthanc.heavy import Leave, on_demand
from web.phases.images import Image
from web.phases.stack import Stack

#: Slices that are looked at to find a window, spread over the series.
_SAMPLES = 5

#: Grey values between these percentiles fill the window. Most of an image is air, and an enhancing
#: lesion is among the brightest 1 %, so the upper one is high: structure inside it stays visible.
_PERCENTILES = (1.0, 99.9)

#: Windows that a process keeps.
_KEPT_WINDOWS = 256


@dataclass(frozen=True)
class Window:
    """Grey values that are shown: centre and width, after the rescale of the image."""

    center: float
    width: float


def window_of(stack: Stack, *, orthanc: Orthanc | None = None) -> Window:
    """Return the window of a phase: the same for every slice, so that scrolling does not flicker.

    A window in the headers is not used: scanners write another one for each slice.
    """
    count = len(stack.slices)
    places = sorted({round((i + 0.5) * count / _SAMPLES - 0.5) for i in range(_SAMPLES)})
    images = tuple(stack.at(min(max(place, 0), count - 1)) for place in places)
    return _kept(orthanc or archive(), images)


def rendered(stack: Stack, index: int, window: Window, *, orthanc: Orthanc | None = None) -> bytes:
    """Return the slice at `index` as an 8-bit PNG; raises `SliceNotFound`, `ArchiveUnavailable`."""
    image = stack.at(index)
    return (orthanc or archive()).content(
        "instances",
        image.instance_id,
        f"{image.address}/rendered",
        params={
            "window-center": f"{window.center:.1f}",
            "window-width": f"{window.width:.1f}",
        },
        accept="image/png",
        bounds=PICTURE,
    )


# Instances never change in the archive (OverwriteInstances is off), so neither does their window.
@lru_cache(maxsize=_KEPT_WINDOWS)
def _kept(orthanc: Orthanc, images: tuple[Image, ...]) -> Window:
    values = np.concatenate([_pixels(orthanc, image) for image in images])
    low, high = np.percentile(values, _PERCENTILES)
    width = max(float(high - low), 1.0)
    return Window(center=float(low) + width / 2, width=width)


def _pixels(orthanc: Orthanc, image: Image) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    with on_demand() as leave:
        return _array(orthanc, image, leave)


def _array(
    orthanc: Orthanc, image: Image, leave: Leave
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    body = orthanc.content("instances", image.instance_id, f"{image.address}/numpy", bounds=ARRAY)
    if len(body) > ARRAY.light:
        leave.take()
    try:
        values = np.load(io.BytesIO(body), allow_pickle=False)
    except ValueError as exc:
        raise ArchiveUnavailable("Orthanc's pixel array cannot be read") from exc
    flat: np.ndarray[tuple[int], np.dtype[np.float32]] = values.astype(np.float32).ravel()
    # Every fourth pixel tells the same percentiles; a view would keep the others as well.
    return flat[::4].copy()
