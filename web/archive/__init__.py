"""The browser's way to the image archive: studies, slices, outlines. Credentials stay here."""
