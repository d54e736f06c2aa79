"""Coded terms of the results, each with the context group (CID, PS3.16) that it stands in."""

from __future__ import annotations

from highdicom.sr import CodedConcept

#: Category of the segment: CID 7150 Segmentation Property Category.
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = CodedConcept(
    "49755003", "SCT", "Morphologically Abnormal Structure"
)

#: Type of the segment, and the finding of the reports: CID 7151, CID 7159.
NEOPLASM = CodedConcept("108369006", "SCT", "Neoplasm")

#: Anatomic region and finding site: CID 4 Anatomic Region.
BREAST = CodedConcept("76752008", "SCT", "Breast")

#: Family of the algorithm: CID 7162 Surface Processing Algorithm Family.
ARTIFICIAL_INTELLIGENCE = CodedConcept("123110", "DCM", "Artificial Intelligence")

#: Value of the finding when nothing was found: CID 240 Present-Absent.
ABSENT = CodedConcept("272519000", "SCT", "Absent")

#: CID 7472 Volume Measurement, CID 218 Quantitative Image Feature.
VOLUME = CodedConcept("118565006", "SCT", "Volume")

#: CID 218 and CID 7470; IBSI's code for the figure that `figures.longest_diameter_mm` defines.
LONGEST_DIAMETER = CodedConcept("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")

#: Procedure reported: CID 6028, reached from CID 100.
MRI_OF_BREAST = CodedConcept("241615005", "SCT", "MRI of breast")

#: Units, UCUM: CID 7461 Unit of Volume Measurement and CID 7460 Unit of Linear Measurement.
MILLILITRE = CodedConcept("mL", "UCUM", "milliliter")
MILLIMETRE = CodedConcept("mm", "UCUM", "millimeter")
