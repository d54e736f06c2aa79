"""A setting of sites under test. Without Django: `make faults` reads it before Django is set up."""

from __future__ import annotations

#: For sites of tests that ask for a study which they stored a moment ago, and are about something
#: else: the archive calls its series unstable for seconds.
ASKS_AT_ONCE = {"WAIT_FOR_WHOLE_SERIES": "false"}
