"""The table: every bad input, and the code with which it must end."""

from __future__ import annotations

from tests.bad_inputs import files, headers, kinds, pixels

TABLE = (*files.ROWS, *headers.ROWS, *pixels.ROWS, *kinds.ROWS)

#: Odd inputs that a lab reads all the same.
HARMLESS = {**files.HARMLESS, **headers.ARABIC}
