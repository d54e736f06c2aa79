"""Coded terms of all results, each with the context group (CID, PS3.16) that it stands in.

What a bundle marks is the bundle's to say: `consumer.handover.ResultCodes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import CodedConcept

if TYPE_CHECKING:
    from consumer.handover import Code

#: Family of the algorithm: CID 7162 Surface Processing Algorithm Family.
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")

#: Value of the finding when nothing was found: CID 240 Present-Absent.
ABSENT = CodedConcept("272519000", "SCT", "Absent")

#: CID 7472 Volume Measurement, CID 218 Quantitative Image Feature.
VOLUME = CodedConcept("118565006", "SCT", "Volume")

#: CID 218 and CID 7470; IBSI's code for the figure that `figures.longest_diameter_mm` defines.
LONGEST_DIAMETER = CodedConcept("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")

#: Units, UCUM: CID 7461 Unit of Volume Measurement and CID 7460 Unit of Linear Measurement.
MILLILITRE = CodedConcept("mL", "UCUM", "milliliter")
MILLIMETRE = CodedConcept("mm", "UCUM", "millimeter")


def concept(code: Code) -> CodedConcept:
    """The term as highdicom takes it."""
    return CodedConcept(code.value, code.scheme, code.meaning)
