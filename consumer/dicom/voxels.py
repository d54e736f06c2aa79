"""Voxel values of one slice: stored values, rescaled, with what is no image left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from consumer.dicom.attributes import number_in, whole
from consumer.dicom.encodings import stored_values
from consumer.dicom.series import guarded
from consumer.errors import UnreadableDicom, UnsupportedImage
from messages.phases.scale import factor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from consumer.dicom.enhanced import Image
    from consumer.payloads import PhaseFiles
    from messages.phases.scale import Stored


def write_voxels(phase: PhaseFiles, number: int, image: Image, into: NDArray[np.float32]) -> None:
    """Write stored value x RescaleSlope + RescaleIntercept (PS3.3 C.11.1.1.2), (rows, columns).

    `number` is that of the image's instance in the download. Raises UnsupportedImage, and
    UnreadableDicom where there are no such values in single precision.
    """
    what = f"instance {number} of series {phase.series_uid}"

    def decode() -> tuple[NDArray[Any], float, float, NDArray[np.bool_] | None]:
        stored = stored_values(image)
        slope, intercept = (
            number_in(image.head, f"Rescale{one}") for one in ("Slope", "Intercept")
        )
        return (
            stored,
            1.0 if slope is None else slope,
            0.0 if intercept is None else intercept,
            _padding(image.head, stored, int(image.source.BitsAllocated)),
        )

    stored, slope, intercept, padding = guarded(phase, number, decode, "decoded")
    if stored.shape != into.shape:
        raise UnsupportedImage(f"{what} is not a plain grey image")
    into[...] = stored
    if (slope, intercept) != (1.0, 0.0):
        _rescale(into, slope, intercept, what)
    if padding is not None and _stands_out(stored, padding):
        into[padding] = into[~padding].min()


def bring_to_first(volume: NDArray[np.float32], phases: Sequence[Sequence[Stored]]) -> None:
    """Bring (phases, slices, rows, columns) in place to the scale of the very first slice.

    Each slice states its own. Raises UnreadableDicom for values beyond single precision.
    """
    first = phases[0][0]
    for channel, slices in enumerate(phases):
        for place, one in enumerate(slices):
            factor = factor_of(one, first)
            if factor != 1.0:
                with np.errstate(over="ignore"):
                    volume[channel, place] *= factor
                if not np.isfinite(volume[channel, place]).all():
                    raise UnreadableDicom("a phase has a scale to values beyond single precision")


def _rescale(into: NDArray[np.float32], slope: float, intercept: float, what: str) -> None:
    with np.errstate(all="ignore"):
        into *= slope
        into += intercept
        largest = np.abs(into).max()
        # Two stored values next to each other must still be two: a slope of 0, or an intercept
        # beside which the slope is nothing, would make a plain grey image of any.
        kept = np.isfinite(largest) and np.spacing(largest) <= abs(slope)
    if not kept:
        raise UnreadableDicom(f"{what} has a rescale to values beyond single precision")


def _padding(head: Dataset, stored: NDArray[Any], bits: int) -> NDArray[np.bool_] | None:
    """Where the image was filled up: Pixel Padding Value (0028,0120), PS3.3 C.7.5.1.1.2.

    With a Range Limit (0028,0121) all values between the two. None where none is stated.
    """
    if head.get("PixelPaddingValue") is None:
        return None
    one = _as_stored(whole(head, "PixelPaddingValue"), stored.dtype, bits)
    limited = head.get("PixelPaddingRangeLimit") is not None
    limit = whole(head, "PixelPaddingRangeLimit") if limited else None
    other = one if limit is None else _as_stored(limit, stored.dtype, bits)
    return (stored >= min(one, other)) & (stored <= max(one, other))


def _stands_out(stored: NDArray[Any], padding: NDArray[np.bool_]) -> bool:
    """Whether what fills the image up is no black that the rest of it could have.

    GE states 0 for its magnitude images, below everything else, and that is as good as black.
    """
    if not padding.any() or padding.all():
        return False
    filled = stored[padding]
    return bool(filled.min() < 0 or filled.max() > stored[~padding].min())


def _as_stored(value: int, kind: np.dtype[Any], bits: int) -> int:
    """The value in the sign of the pixels: some writers state 63536 where they mean -2000."""
    value %= 2**bits
    return value - 2**bits if kind.kind == "i" and value >= 2 ** (bits - 1) else value
