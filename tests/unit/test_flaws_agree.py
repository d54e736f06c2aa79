"""Images that are no volume: lab, site and run by hand end in one code and name one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from django.utils import translation
from pydicom import Dataset
from pydicom.multival import MultiValue

from consumer.children import reader
from consumer.errors import LabError
from consumer.manual.choice import choose
from consumer.manual.facts import examine
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex
from messages.failures import FailureCode
from messages.lab import ModelDescriptor
from messages.phases import DCE_ROLES
from tests.dicom_factory import SAGITTAL, Series, part10, place
from tests.enhanced_factory import enhanced
from tests.unit import test_infer_images as by_hand
from web.orthanc.archive import Orthanc
from web.phases.candidates import candidates_of
from web.phases.choice import look_up
from web.phases.chosen import Selection
from web.phases.proposal import StudyProposal, proposal_for
from web.phases.studies import StudyDetail, study_detail
from web.refusals import NotAsked

UNSUPPORTED, MISSING = FailureCode.UNSUPPORTED_IMAGE, FailureCode.MISSING_ATTRIBUTE
UNREADABLE = FailureCode.UNREADABLE_DICOM

MODEL = ModelDescriptor(
    name="m", version="1", sha256="0" * 64, roles=("image",), labels=("brain",), notice=""
)

#: What Orthanc 1.10 keeps of an instance in its database.
IN_DATABASE = ("SOPInstanceUID", "InstanceNumber", "NumberOfFrames", "ImagePositionPatient",
               "ImageOrientationPatient")  # fmt: skip


def orthanc_tells(ds: Dataset, *, numbered: bool) -> dict[str, Any]:
    """``simplified-tags``, or ``tags?short``, as Orthanc 1.10.1 answers (run)."""
    found: dict[str, Any] = {}
    for element in ds:
        private = "PrivateCreator" if element.tag.is_private_creator else "Unknown Tag & Data"
        name = element.keyword or private
        key = f"{element.tag.group:04x},{element.tag.element:04x}" if numbered else name
        if element.keyword == "PixelData":
            found[key] = None
        elif element.VR == "SQ":
            found[key] = [orthanc_tells(item, numbered=numbered) for item in element.value]
        elif isinstance(element.value, MultiValue | list):
            found[key] = "\\".join(map(str, element.value))
        else:
            found[key] = "" if element.value is None else str(element.value)
    return found


@dataclass
class Archive:
    """An Orthanc with one series."""

    datasets: Sequence[Dataset]
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> Any:
        """JSON for a path; None for 404."""
        self.asked.append(path)
        level, one, *tail = path.strip("/").split("/")
        series = {
            "ID": by_hand.SERIES,
            "ParentStudy": by_hand.SERIES,
            "Instances": [self.id_of(number) for number in range(len(self.datasets))],
            "MainDicomTags": {"SeriesInstanceUID": "1.2.3.4", "Modality": "MR"},
        }
        main = {"MainDicomTags": {"StudyInstanceUID": "1.2.3"}, "ID": one}
        match level, tail:
            case ("studies", []) | ("series", ["study"]):
                return {**main, "PatientMainDicomTags": {}}
            case "studies", ["series"]:
                return [series]
            case "series", []:
                return series
            case "series", ["instances"]:
                return [self.indexed(number) for number in range(len(self.datasets))]
        ds = self.datasets[int(one[:8], 16)]
        if tail == ["content", "7fe0-0010"]:
            return "pixels" if "PixelData" in ds else None
        assert tail in (["simplified-tags"], ["tags?short"]), path
        return orthanc_tells(ds, numbered=tail == ["tags?short"])

    def indexed(self, number: int) -> dict[str, Any]:
        told = orthanc_tells(self.datasets[number], numbered=False)
        kept = {name: told[name] for name in IN_DATABASE if name in told}
        return {"ID": self.id_of(number), "MainDicomTags": kept}

    @staticmethod
    def id_of(number: int) -> str:
        return "-".join([f"{number:08x}"] * 5)

    @property
    def orthanc(self) -> Orthanc:
        """As the site asks it."""

        def respond(request: httpx.Request) -> httpx.Response:
            query = request.url.query.decode()
            found = self.answer(request.url.path + (f"?{query}" if query else ""))
            return httpx.Response(404 if found is None else 200, json=found)

        return Orthanc("http://a.invalid", "u", "p", transport=httpx.MockTransport(respond))

    @contextmanager
    def by_hand(self) -> Iterator[Any]:
        """As a run by hand asks it."""
        archive = self

        class Answers(dict[str, Any]):
            def get(self, path: str, default: Any = None) -> Any:  # type: ignore[override]
                return archive.answer(path)

        with by_hand.orthanc(Answers()) as (images, _):
            yield images


@dataclass(frozen=True)
class Case:
    """What is wrong with a series, the code, and what both sentences must name."""

    change: Callable[[Dataset], object]
    code: FailureCode
    lab: str
    site: str
    options: dict[str, Any] = field(default_factory=dict)
    #: Instances that are changed, from 0; none: all.
    only: tuple[int, ...] = ()

    def datasets(self) -> list[Dataset]:
        """The instances."""
        made = Series(**{"slices": 4, **self.options}).datasets
        for number, ds in enumerate(made):
            # Where nothing says of how many bits the pixels are, pydicom could not write them.
            ds["PixelData"].VR = "OW"
            if not self.only or number in self.only:
                self.change(ds)
        return made


def setting(**values: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            delattr(ds, keyword)

    return change


def private(group: int, creator: str, element: int, vr: str, value: object) -> Any:
    def change(ds: Dataset) -> None:
        ds.add_new(group << 16 | 0x10, "LO", creator)
        ds.add_new(group << 16 | 0x1000 | element, vr, value)
        # Orthanc has one name for all of them and tells the last.
        ds.add_new(group << 16 | 0x10FF, "SH", "A1/FS")

    return change


def both(*changes: Callable[[Dataset], object]) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for one in changes:
            one(ds)

    return change


def nothing(_: Dataset) -> None:
    pass


#: A mosaic of 6 x 6 tiles of 8 x 8 pixels, 1248 mm wide; a small one of 2 x 2.
MOSAIC = {"rows": 48, "columns": 48, "spacing": (5.0, 26.0, 26.0)}
SMALL = {"rows": 16, "columns": 16, "spacing": (5.0, 12.0, 12.0)}
VFRAME = {"rows": 32, "columns": 40, "spacing": (4.2, 28.0, 28.0), "slices": 1}
MATRIX = setting(AcquisitionMatrix=[8, 0, 0, 8])
SIEMENS = private(0x19, "SIEMENS MR HEADER", 0x0A, "US", 36)
UIH = private(0x65, "Image Private Header", 0x50, "DS", "20")
SAYS_MOSAIC = setting(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
SAYS_VFRAME = both(setting(ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"]),
                   without("ImagePositionPatient"))  # fmt: skip

#: GE's echo planar images of both polarities, as a real run has it.
TURNED = both(
    setting(ScanningSequence=["EP", "RM"]),
    private(0x19, "GEMS_ACQU_01", 0x9C, "LO", "research/ABCD/epi_pepolar"),
    private(0x19, "GEMS_ACQU_01", 0xB3, "DS", "2.000000"),
)

SHEET = ("several slices in one frame", "mosaic")

CASES = {
    "a mosaic": Case(both(MATRIX, SAYS_MOSAIC, SIEMENS), UNSUPPORTED, *SHEET, MOSAIC),
    "a mosaic without private elements": Case(
        both(MATRIX, SAYS_MOSAIC), UNSUPPORTED, *SHEET, MOSAIC
    ),
    "a small mosaic of an anonymous type": Case(both(MATRIX, SIEMENS), UNSUPPORTED, *SHEET, SMALL),
    "a mosaic of which the matrix alone is left": Case(MATRIX, UNSUPPORTED, *SHEET, MOSAIC),
    "a VFRAME": Case(both(MATRIX, SAYS_VFRAME, UIH), UNSUPPORTED, *SHEET, VFRAME),
    "a VFRAME of an anonymous type": Case(both(MATRIX, UIH), UNSUPPORTED, *SHEET, SMALL),
    "rows the other way round": Case(
        TURNED, UNSUPPORTED, "rows the other way round", "the other way round"
    ),
    "compressed with loss": Case(
        setting(LossyImageCompression="01"), UNSUPPORTED, "with loss", "with loss"
    ),
    "what is wider than any bore": Case(
        nothing, UNSUPPORTED, "reach 704 mm across the body", "704 mm across", {
            "rows": 44, "columns": 44, "spacing": (5.0, 16.0, 16.0)}
    ),
    "slices in metres": Case(
        nothing, UNSUPPORTED, "are 0.006 mm wide", "0.006 mm wide", {"spacing": (2.5, 8e-4, 6e-4)}
    ),
    "a stack from one side of the room to the other": Case(
        nothing, UNSUPPORTED, "reach 750 mm across", "750 mm across",
        {"spacing": (250.0, 0.8, 0.6), "orientation": SAGITTAL},
    ),
    **{
        f"no {keyword}": Case(without(keyword), MISSING, keyword, f"({keyword})")
        for keyword in (
            "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
            "BitsStored", "HighBit", "PixelRepresentation", "ImageOrientationPatient",
            "ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID",
        )
    },
    "an empty FrameOfReferenceUID": Case(
        setting(FrameOfReferenceUID=""), MISSING, "an empty FrameOfReferenceUID",
        "(FrameOfReferenceUID)",
    ),
    "no position in the third slice": Case(
        without("ImagePositionPatient"), MISSING, "instance 3 of image has no ImagePositionPatient",
        "(ImagePositionPatient)", only=(2,),
    ),
    "no pixels": Case(without("PixelData"), MISSING, "hold no pixels", "hold no pixels"),
    "no space between rows": Case(
        setting(PixelSpacing=["0", "0.6"]), UNREADABLE, "PixelSpacing", "(PixelSpacing)"
    ),
    "three cosines": Case(
        setting(ImageOrientationPatient=["1", "0", "0"]), UNREADABLE, "ImageOrientationPatient",
        "(ImageOrientationPatient)",
    ),
}  # fmt: skip

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def by_the_lab(datasets: Sequence[Dataset]) -> LabError:
    first = datasets[0]
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(memory, [part10(ds) for ds in datasets], "image", first.SeriesInstanceUID)
        with pytest.raises(LabError) as caught:
            reader.read_phases(DownloadIndex(first.StudyInstanceUID, (phase,)), target.path)
    return caught.value


def by_the_command(archive: Archive) -> LabError:
    with archive.by_hand() as images:
        looked = examine(images, by_hand.SERIES)
    with pytest.raises(LabError) as caught:
        choose([looked], MODEL.roles, ())
    return caught.value


def by_the_site(archive: Archive) -> NotAsked:
    chosen = [Selection("image", by_hand.SERIES)]
    with pytest.raises(NotAsked) as caught:
        look_up(archive.orthanc, MODEL, by_hand.SERIES, chosen)
    return caught.value


def shown(archive: Archive) -> tuple[StudyDetail, StudyProposal]:
    study = study_detail(by_hand.SERIES, orthanc=archive.orthanc)
    return study, proposal_for(study.series, MODEL.roles)


@pytest.mark.filterwarnings("ignore")
@every_case
def test_lab_site_and_run_by_hand_end_in_one_code_and_name_one_thing(case: Case) -> None:
    datasets = case.datasets()
    archive = Archive(datasets)

    lab, hand, site = by_the_lab(datasets), by_the_command(archive), by_the_site(archive)

    assert (lab.code, hand.code, site.code, site.status) == (case.code, case.code, case.code, 422)
    assert case.lab in lab.detail
    assert case.site in str(site.message)
    named = case.lab.rpartition(" ")[2]
    assert named in hand.detail


@every_case
def test_such_a_series_is_left_out_with_its_reason_and_offered_nowhere(case: Case) -> None:
    study, proposal = shown(Archive(case.datasets()))

    assert candidates_of(study.series) == []
    assert proposal.roles[0].phase is None
    assert case.site in proposal.left_out[by_hand.SERIES]
    keyword = case.site.strip("()")
    with translation.override("ko"):
        korean = proposal_for(study.series, MODEL.roles).left_out[by_hand.SERIES]
    assert korean != proposal.left_out[by_hand.SERIES]
    assert not keyword.isalpha() or keyword == "mosaic" or keyword in korean


def in_frames(change: Callable[[Dataset], object]) -> Dataset:
    ds = enhanced([Series(slices=4)])
    change(ds)
    return ds


def without_group(name: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        shared, own = ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence
        for group in (*shared, *own):
            group.pop(name, None)

    return change


ENHANCED = {
    "ImageOrientationPatient": without_group("PlaneOrientationSequence"),
    "ImagePositionPatient": without_group("PlanePositionSequence"),
    "PixelSpacing": without_group("PixelMeasuresSequence"),
    "FrameOfReferenceUID": without("FrameOfReferenceUID"),
    "Rows": without("Rows"),
}


@pytest.mark.parametrize(("keyword", "change"), ENHANCED.items(), ids=ENHANCED)
def test_frames_that_lack_an_attribute_are_refused_alike(
    keyword: str, change: Callable[[Dataset], object]
) -> None:
    archive = Archive([in_frames(change)])

    lab, hand, site = by_the_lab(archive.datasets), by_the_command(archive), by_the_site(archive)

    assert {lab.code, hand.code, site.code} == {MISSING}
    assert keyword in lab.detail
    assert keyword in hand.detail
    assert keyword in str(site.message)
    assert candidates_of(shown(archive)[0].series) == []


def test_frames_with_all_attributes_are_offered() -> None:
    archive = Archive([in_frames(nothing)])

    study, proposal = shown(archive)

    assert len(candidates_of(study.series)) == 1
    assert proposal.left_out == {}


def test_a_good_series_is_read_offered_and_costs_no_further_call() -> None:
    archive = Archive(Series(slices=4).datasets)

    study, proposal = shown(archive)

    assert len(candidates_of(study.series)) == 1
    assert proposal.left_out == {}
    assert [path for path in archive.asked if path.startswith("/instances")] == [
        f"/instances/{Archive.id_of(0)}/simplified-tags"
    ]
    with archive.by_hand() as images:
        assert len(choose([examine(images, by_hand.SERIES)], MODEL.roles, ())) == 1


def test_slices_that_are_no_stack_are_no_matter_of_size() -> None:
    made = Series(slices=4)
    for ds in made.datasets:
        ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    archive = Archive(made.datasets)

    assert by_the_lab(made.datasets).code == FailureCode.GEOMETRY_MISMATCH
    assert shown(archive)[1].left_out == {}


def test_a_count_is_asked_for_only_where_the_matrix_allows_a_sheet() -> None:
    case = CASES["a small mosaic of an anonymous type"]
    archive = Archive(case.datasets())

    shown(archive)

    assert [path.rpartition("/")[2] for path in archive.asked if "/instances/" in path] == [
        "simplified-tags",
        "tags?short",
    ]


def test_tags_that_cannot_be_read_are_not_called_missing() -> None:
    archive = Archive(Series(slices=4).datasets)
    answer = archive.answer
    archive.answer = lambda path: {} if "tags" in path else answer(path)  # type: ignore[method-assign]

    study, proposal = shown(archive)

    assert len(candidates_of(study.series)) == 1
    assert proposal.left_out == {}


def test_a_phase_that_lacks_an_attribute_keeps_the_others_from_moving_up() -> None:
    from messages.phases import Problem, SeriesFacts, propose
    from messages.phases.facts import PhaseFacts
    from messages.phases.flaws import Flaw, FlawKind
    from messages.phases.kind import LeftOut

    missing = Flaw(FlawKind.MISSING, "FrameOfReferenceUID")
    run = [
        SeriesFacts(
            f"s{number}",
            "MR",
            f"t1 dyn {number}",
            40,
            phases=(PhaseFacts("", "", 90.0 * number, 40, flaw=missing if number == 3 else None),),
            flaw=missing if number == 3 else None,
        )
        for number in range(1, 6)
    ]

    found = propose(run, DCE_ROLES)

    assert found.problem is Problem.PHASE_LEFT_OUT
    assert found.left_out["s3"] is LeftOut.MISSING_ATTRIBUTE
