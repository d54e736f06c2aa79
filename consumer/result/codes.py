"""Coded terms of all results, each with the context group (CID, PS3.16) that it stands in.

What a bundle marks is the bundle's to say: `consumer.bundle.ResultCodes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import CodedConcept

if TYPE_CHECKING:
    from consumer.bundle import Code

#: Family of the algorithm: CID 7162 Surface Processing Algorithm Family.
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")

#: Value of the finding when nothing was found: CID 240 Present-Absent.
ABSENT = CodedConcept("272519000", "SCT", "Absent")

#: The same when something was.
PRESENT = CodedConcept("52101004", "SCT", "Present")

#: CID 7472 Volume Measurement, CID 218 Quantitative Image Feature.
VOLUME = CodedConcept("118565006", "SCT", "Volume")

#: CID 218 and CID 7470; IBSI's code for the figure that `diameters.longest_diameter_mm` defines.
LONGEST_DIAMETER = CodedConcept("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")

#: Longest diameter within one slice, in the slice in which it is longest: CID 7470 Linear
#: Measurement. The word of RECIST readers, and the name that viewers give the long one of two axes.
LONG_AXIS = CodedConcept("103339001", "SCT", "Long Axis")

#: How a figure of several lesions comes from theirs: CID 7464 General Region of Interest
#: Measurement Modifier. Mean: of the voxels of one lesion.
TOTAL = CodedConcept("255619001", "SCT", "Total")
MAXIMUM = CodedConcept("56851009", "SCT", "Maximum")
MEAN = CodedConcept("373098007", "SCT", "Mean")

#: CID 218 Quantitative Image Feature.
SIGNAL_INTENSITY = CodedConcept(
    "110816", "DCM", "T1 Weighted Dynamic Contrast Enhanced MR Signal Intensity"
)

#: PS3.16 annex D. Its value here is the role, which is the model's own word for the phase.
CONTRAST_PHASE = CodedConcept("109058", "DCM", "Contrast Phase")

#: CID 6335, of the signal of dynamic contrast-enhanced images; here with its value in percent.
WASH_IN = CodedConcept("RID49530", "RADLEX", "Early phase wash-in")

#: Concept of the curve's type. The types are of CID 6335, as ACR BI-RADS names them.
ENHANCEMENT_PATTERN = CodedConcept("RID6058", "RADLEX", "Enhancement pattern")
PERSISTENT = CodedConcept("130597", "DCM", "Persistent delayed phase: Type 1 curve")
PLATEAU = CodedConcept("130598", "DCM", "Plateau delayed phase: Type 2 curve")
WASHOUT = CodedConcept("130599", "DCM", "Washout delayed phase: Type 3 curve")

#: Side of a finding site, as its modifier (TID 1411): CID 244 Laterality. Where it cannot be told,
#: it is an evaluation of the lesion instead, with a value of CID 240: a site has no such side.
LATERALITY = CodedConcept("272741003", "SCT", "Laterality")
LEFT = CodedConcept("7771000", "SCT", "Left")
RIGHT = CodedConcept("24028007", "SCT", "Right")
UNDETERMINED = CodedConcept("373068000", "SCT", "Undetermined")

#: Ours, where no standard has a code (docs/architecture.md lists them). A scheme that begins with
#: 99 is private (PS3.3 section 8.2).
PRIVATE_SCHEME = "99LABRELAY"
NUMBER_OF_MARKS = CodedConcept("MARKS", PRIVATE_SCHEME, "Number of marks")
LEFT_OUT = CodedConcept("LEFTOUT", PRIVATE_SCHEME, "Number of marks left out")
AFTER_FIRST = CodedConcept("AFTERFIRST", PRIVATE_SCHEME, "Time after the first phase")

#: Units, UCUM: CID 7461 Unit of Volume Measurement and CID 7460 Unit of Linear Measurement.
MILLILITRE = CodedConcept("mL", "UCUM", "milliliter")
MILLIMETRE = CodedConcept("mm", "UCUM", "millimeter")
SECOND = CodedConcept("s", "UCUM", "second")
PERCENT = CodedConcept("%", "UCUM", "percent")
NO_UNITS = CodedConcept("1", "UCUM", "no units")


def concept(code: Code) -> CodedConcept:
    """The term as highdicom takes it."""
    return CodedConcept(code.value, code.scheme, code.meaning)
