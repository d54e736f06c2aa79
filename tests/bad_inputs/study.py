"""What a request may find in an archive, and the patient who must not be found in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from consumer.dicom.files import read_file
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex
from infra.brain.fetch import Brain
from messages.failures import FailureCode
from tests.dicom_factory import Series, part10, place

#: Values of the patient, and text where numbers belong: in no error, log line or message.
PLANTED = ("Planted", "P-4711", "19430217", "Secret Street", "12,5 cm", "١٢٣")

_PATIENT = {
    "PatientName": "Planted^Petra",
    "PatientID": "P-4711",
    "PatientBirthDate": "19430217",
    "PatientAddress": "Secret Street 7",
}


_uids = count(4_711_000_001)


def uid() -> str:
    """A UID that no other object of this process has; in the next process the same comes."""
    return f"2.25.{next(_uids)}"


@dataclass(frozen=True)
class Phase:
    """One input as the archive would hand it over."""

    role: str
    series_uid: str
    files: tuple[bytes, ...]
    #: Instances that the request named; None: as many as there are.
    asked: int | None = None
    selector: tuple[str, str] | None = None


@dataclass(frozen=True)
class Study:
    """The inputs of one request."""

    study_uid: str
    phases: tuple[Phase, ...]

    @contextmanager
    def downloaded(self) -> Iterator[DownloadIndex]:
        """As it lies in the memory of a lab."""
        with MemoryFile() as memory:
            yield DownloadIndex(
                self.study_uid,
                tuple(
                    place(
                        memory,
                        list(phase.files),
                        phase.role,
                        phase.series_uid,
                        selector=phase.selector,
                        **({} if phase.asked is None else {"instance_count": phase.asked}),
                    )
                    for phase in self.phases
                ),
            )


@dataclass(frozen=True)
class BadInput:
    """One row of the table: what comes, and the code with which it must end."""

    name: str
    code: FailureCode
    study: Callable[[], Study]


def planted(datasets: Iterable[Dataset]) -> None:
    """Write the patient into the data sets."""
    for ds in datasets:
        for keyword, value in _PATIENT.items():
            setattr(ds, keyword, value)
        if "PixelData" in ds:
            # Where nothing says of how many bits the pixels are, pydicom could not write them.
            ds["PixelData"].VR = "OW"


def series(**options: object) -> Series:
    """A good series of the planted patient."""
    uids = {name: uid() for name in ("study_uid", "series_uid", "frame_uid")}
    made = Series(**{"slices": 4, **uids, **options})  # type: ignore[arg-type]
    planted(made.datasets)
    for ds in made.datasets:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid()
    return made


def study_of(*parts: tuple[str, Series]) -> Study:
    """The study of series under their roles."""
    return Study(
        parts[0][1].study_uid,
        tuple(Phase(role, part.series_uid, tuple(part.files())) for role, part in parts),
    )


def changed(change: Callable[[list[Dataset]], object], **options: object) -> Callable[[], Study]:
    """A series whose data sets were changed before they were written."""

    def build() -> Study:
        made = series(**options)
        change(made.datasets)
        return study_of(("pre", made))

    return build


def each(change: Callable[[Dataset], object], **options: object) -> Callable[[], Study]:
    """A series of which each data set was changed."""
    return changed(lambda datasets: [change(ds) for ds in datasets], **options)


def rewritten(
    change: Callable[[bytes], bytes], make: Callable[[], Study] | None = None
) -> Callable[[], Study]:
    """A study of which each file was changed after it had been written."""

    def build() -> Study:
        study = make() if make else study_of(("pre", series()))
        phases = tuple(
            Phase(
                phase.role,
                phase.series_uid,
                tuple(change(data) for data in phase.files),
                phase.asked,
                phase.selector,
            )
            for phase in study.phases
        )
        return Study(study.study_uid, phases)

    return build


def real_file(name: str) -> Path:
    """A file of pydicom's own tests or of pydicom-data; both are installed for the tests."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"{name} is missing: run `make setup-test`"
    return Path(found)


def real(
    name: str, change: Callable[[Dataset], object] = lambda _: None, *, copies: int = 1
) -> Callable[[], Study]:
    """A file of a real scanner with the planted patient, changed, as a series of its own."""

    def build() -> Study:
        ds = dcmread(BytesIO(real_file(name).read_bytes()))
        planted([ds])
        study_uid, series_uid = uid(), uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
        files = []
        for _ in range(copies):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid()
            change(ds)
            files.append(part10(ds))
        return Study(study_uid, (Phase("pre", series_uid, tuple(files)),))

    return build


def brain(change: Callable[[list[Dataset]], object]) -> Callable[[], Study]:
    """The GE series of 20 slices with the planted patient, changed."""

    def build() -> Study:
        fetched = Brain()
        assert fetched.has_series(), "the series is missing: run `make setup-test`"
        datasets = [read_file(path.read_bytes()) for path in fetched.files]
        planted(datasets)
        change(datasets)
        first = datasets[0]
        phase = Phase("pre", str(first.SeriesInstanceUID), tuple(map(part10, datasets)))
        return Study(str(first.StudyInstanceUID), (phase,))

    return build


def without(keyword: str) -> Callable[[Dataset], None]:
    """A change that removes an element."""

    def change(ds: Dataset) -> None:
        del ds[keyword]

    return change


def setting(**values: object) -> Callable[[Dataset], None]:
    """A change that sets elements."""

    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def raw(keyword: str, text: bytes) -> Callable[[Dataset], None]:
    """A change that writes a value which pydicom would not let anyone set."""

    def change(ds: Dataset) -> None:
        from pydicom.datadict import dictionary_VR, tag_for_keyword
        from pydicom.dataelem import RawDataElement
        from pydicom.tag import Tag

        number = tag_for_keyword(keyword)
        assert number is not None
        tag, padded = Tag(number), text + b" " * (len(text) % 2)
        ds[tag] = RawDataElement(tag, dictionary_VR(number), len(padded), padded, 0, False, True)

    return change
