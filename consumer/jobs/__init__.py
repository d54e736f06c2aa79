"""One request in a lab: its run, its analysis, and what is published of it."""
