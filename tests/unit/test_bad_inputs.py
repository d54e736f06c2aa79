"""Whatever a file holds: its code, in the reader child, and nothing said of a patient."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from consumer.children.workbench import UNFORESEEN, Limits, Workbench
from consumer.errors import LabError
from consumer.memory import MemoryFile
from consumer.sandbox.confinement import ReaderLimits
from consumer.stop_conditions import StopConditions
from messages.failures import FailureCode
from tests.bad_inputs.files import bomb
from tests.bad_inputs.study import PLANTED, BadInput, Study, series, study_of
from tests.bad_inputs.table import HARMLESS, TABLE

#: Seconds for one reading on a busy machine; the table's longest takes about 5.
PATIENCE = 120.0


#: pydicom warns of what it is told to write; in the reader nothing warns.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    bench = Workbench(
        Limits(
            reading=PATIENCE,
            inference=PATIENCE,
            reader=ReaderLimits(memory_bytes=3 * 1024**3, volume_bytes=1024**3),
        )
    )
    yield bench
    bench.stop()


def reader_pid(bench: Workbench) -> int:
    return bench._reader.call(PATIENCE, StopConditions(), os.getpid)


def read(bench: Workbench, study: Study) -> np.ndarray:
    with study.downloaded() as source, MemoryFile() as volumes:
        header = bench.read(source, volumes.path, StopConditions())
        return volumes.open_array(header.shape, np.float32).copy()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_bad_input_ends_in_its_code_and_costs_no_process(bench: Workbench, row: BadInput) -> None:
    study = row.study()
    before = reader_pid(bench)

    with pytest.raises(LabError) as caught:
        read(bench, study)

    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    print(f"{error.code}: {error.detail}")
    assert error.code == row.code, error.detail
    assert UNFORESEEN not in error.detail
    assert not [value for value in PLANTED if value in error.detail]
    assert reader_pid(bench) == before, "the reader was lost"


@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS)
def test_what_is_only_odd_is_read(bench: Workbench, make: Callable[[], Study]) -> None:
    untouched = series().pixels
    np.testing.assert_array_equal(read(bench, make()), untouched[None])


MIB = 1024**2

#: What is passed, the limits, and the code.
LIMITS = {
    "seconds": (Limits(reading=0.5, inference=PATIENCE), FailureCode.TOO_LARGE),
    "voxels": (
        Limits(PATIENCE, PATIENCE, ReaderLimits(volume_bytes=4 * 4 * 8 * 10 - 1)),
        FailureCode.TOO_LARGE,
    ),
    "memory": (
        Limits(PATIENCE, PATIENCE, ReaderLimits(memory_bytes=64 * MIB)),
        FailureCode.TOO_LARGE,
    ),
}


@pytest.mark.parametrize("passed", LIMITS)
def test_what_passes_a_limit_of_the_lab_ends_in_its_code(passed: str) -> None:
    limits, code = LIMITS[passed]
    study = study_of(("pre", series())) if passed == "voxels" else bomb(600 * MIB)()
    bench = Workbench(limits)
    try:
        with pytest.raises(LabError) as caught:
            read(bench, study)
        assert caught.value.code == code, caught.value.detail
        # The next is not harmed by it.
        assert reader_pid(bench) > 0
    finally:
        bench.stop()


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_a_decoder_without_memory_is_no_broken_file(syntax: UID) -> None:
    image = series(slices=1, rows=4, columns=4, spacing=(2.5, 0.1, 0.1))
    (ds,) = image.datasets
    ds.Rows = ds.Columns = 4000
    ds.PixelData = np.zeros((4000, 4000), np.uint16).tobytes()
    ds.compress(syntax, generate_instance_uid=False)
    bench = Workbench(Limits(PATIENCE, PATIENCE, ReaderLimits(memory_bytes=84 * MIB)))
    try:
        with pytest.raises(LabError) as caught:
            read(bench, study_of(("pre", image)))
        assert caught.value.code == FailureCode.TOO_LARGE, caught.value.detail
    finally:
        bench.stop()


def test_the_table_is_as_long_as_promised() -> None:
    assert len(TABLE) >= 60
    assert len({row.name for row in TABLE}) == len(TABLE)
