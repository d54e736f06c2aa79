"""The OHIF viewer for the site: fetched, trimmed, made to work below a prefix, compressed."""
