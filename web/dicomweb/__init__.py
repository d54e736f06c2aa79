"""DICOMweb for the viewer: what the archive holds of the studies that a reader sees, read only."""
