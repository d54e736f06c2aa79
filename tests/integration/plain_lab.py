"""The lab with a segmenter of numpy: ``python -m tests.integration.plain_lab run``.

Everything but the model is the product: main process, children, archive, broker. torch and MONAI
cost four of six seconds of processor time of each start, and hundreds of tests are not about them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from infra.local.settings import REPOSITORY

#: The bundle that `tests.integration.plain_segmenter` computes.
HELD = REPOSITORY / "tests" / "bundles" / "held"

#: Its configuration: another one is for MONAI to run.
_CONFIGURATION = Path("configs") / "inference.json"


def module_for(bundle: Path) -> str:
    """What runs a lab that serves this bundle: this module for a copy of `HELD` as it is."""
    config = bundle / _CONFIGURATION
    plain = config.is_file() and config.read_bytes() == (HELD / _CONFIGURATION).read_bytes()
    return "tests.integration.plain_lab" if plain else "consumer"


if __name__ == "__main__":
    from consumer.__main__ import serve
    from tests.integration import plain_segmenter

    if sys.argv[1:] != ["run"]:
        raise SystemExit("plain_lab knows only: run")
    serve(plain_segmenter)
