"""A stored result of an older lab is told of by a lab of today, whose rules refuse more."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from consumer.children import reader
from consumer.errors import MixedPhase
from consumer.memory import MemoryFile
from messages.phases.scale import Scale
from tests.dicom_factory import index, spec
from tests.unit.test_phase_scale import (
    DIFFERENT,
    LESION,
    SHAPE,
    all_stated,
    four_phases,
    parameters,
)
from web.results.report_details import read_report


def test_curves_of_an_older_result_that_were_brought_to_one_scale_say_so() -> None:
    phases = all_stated(DIFFERENT)
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    with MemoryFile() as memory, MemoryFile() as volumes, MemoryFile() as marked:
        source = index(memory, **phases)
        header = reader.read_phases(source, volumes.path)
        marked.write(mask.tobytes())
        about = spec()
        # A lab of before did not look at scales.
        older = replace(source.as_read(header), scale=Scale.ONE)
        primary = reader.package(older, marked.path, SHAPE, about).dicom_bytes
        assert "signal_scale" not in parameters(dcmread(BytesIO(primary)))
        measured = reader.measure_stored(primary, source, about)
    told = read_report(dcmread(BytesIO(measured.report or b"")))
    assert told.lesions
    assert told.lesions[0].kinetics is not None
    assert told.origin.signal_scale == "first_phase"


def test_a_stored_result_is_told_of_though_its_slices_do_not_agree_by_rules_of_today() -> None:
    phases = four_phases(((1.0, 0.0, 1.0),) * 4, "Somebody")
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    with MemoryFile() as memory, MemoryFile() as volumes, MemoryFile() as marked:
        source = index(memory, **phases)
        header = reader.read_phases(source, volumes.path)
        marked.write(mask.tobytes())
        about = spec()
        primary = reader.package(source.as_read(header), marked.path, SHAPE, about).dicom_bytes
    phases["post1"].datasets[1].ImageType = ["ORIGINAL", "PRIMARY", "PHASE MAP"]
    for ds in phases["post1"].datasets[2:]:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    with MemoryFile() as memory, MemoryFile() as volumes:
        source = index(memory, **phases)
        with pytest.raises(MixedPhase):
            reader.read_phases(source, volumes.path)
        measured = reader.measure_stored(primary, source, about)
    assert measured.figures.volume_ml
    assert measured.report
