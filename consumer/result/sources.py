"""The images of which a SEG is made: highdicom is given slices, and the SEG names the files.

highdicom takes either classic instances or a single multi-frame one with all of its frames. A
phase can be a part of an Enhanced instance, or lie in several. So it is given each frame as a
classic slice with a UID that stands in for the frame, and the references are put right after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom import Dataset
from pydicom.uid import MRImageStorage, generate_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumer.dicom.enhanced import Image


class Sources:
    """The slices that highdicom is given, and which frames they are."""

    def __init__(self, images: Sequence[Image]) -> None:
        #: In the order of `images`; single frames that nobody else holds.
        self.slices: list[Dataset] = []
        self._frames: dict[str, Image] = {}
        for image in images:
            if image.frame is None:
                self.slices.append(image.head)
                continue
            slice_ = Dataset()
            for element in image.head:
                slice_.add(element)
            stand_in = generate_uid()
            # No setattr: that would change the element, which is one for all frames.
            slice_.add_new("SOPClassUID", "UI", MRImageStorage)
            slice_.add_new("SOPInstanceUID", "UI", stand_in)
            self._frames[stand_in] = image
            self.slices.append(slice_)

    def name_in(self, seg: Dataset) -> None:
        """Make `seg` refer, in place, to instances and, per frame of its own, to their frames.

        PS3.3 table 10-3: the frame number is wanted where not all frames are meant.
        """
        if not self._frames:
            return
        seg.SourceImageSequence = self._instances(seg.SourceImageSequence)
        for series in seg.ReferencedSeriesSequence:
            series.ReferencedInstanceSequence = self._instances(series.ReferencedInstanceSequence)
        for group in seg.PerFrameFunctionalGroupsSequence:
            for derivation in group.get("DerivationImageSequence", ()):
                for item in derivation.SourceImageSequence:
                    image = self._frames.get(item.ReferencedSOPInstanceUID)
                    if image is None:
                        # Named already: frames of several segments in one slice share the item.
                        continue
                    item.ReferencedSOPClassUID = image.head.SOPClassUID
                    item.ReferencedSOPInstanceUID = image.head.SOPInstanceUID
                    item.ReferencedFrameNumber = image.frame

    def _instances(self, references: Iterable[Any]) -> list[Dataset]:
        """Each instance once, in the order of its first frame."""
        found: dict[str, Dataset] = {}
        for reference in references:
            head = self._frames[reference.ReferencedSOPInstanceUID].head
            item = Dataset()
            item.ReferencedSOPClassUID = head.SOPClassUID
            item.ReferencedSOPInstanceUID = head.SOPInstanceUID
            found.setdefault(str(head.SOPInstanceUID), item)
        return list(found.values())
