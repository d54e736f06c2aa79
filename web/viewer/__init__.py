"""The OHIF viewer from our own origin, opened on a study and its newest result."""
