"""Simulated four-phase breast DCE-MRI with ground truth, as arrays and as DICOM.

No patient data and no patient-derived data go into it: every shape is a formula and every
random number comes from the seed. The bundle `breast_dce_phantom` is trained on it (`train`)
and measured on it (`evaluate`). Nothing here says anything about real patients.
"""
