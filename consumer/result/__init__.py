"""What a mask becomes: the DICOM SEG, the structured reports, and the figures of the reply."""
