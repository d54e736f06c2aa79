"""The lab with a segmenter of numpy: ``python -m tests.integration.plain_lab run``.

Everything but the model is the product: main process, children, archive, broker. torch and MONAI
cost four of six seconds of processor time of each start, and hundreds of tests are not about them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.integration import plain_segmenter

#: What runs such a lab.
PLAIN_LAB = "tests.integration.plain_lab"


def module_for(bundle: Path) -> str:
    """What runs a lab that serves this bundle."""
    return PLAIN_LAB if plain_segmenter.computes(bundle) else "consumer"


if __name__ == "__main__":
    from consumer.__main__ import serve

    if sys.argv[1:] != ["run"]:
        raise SystemExit("plain_lab knows only: run")
    serve(plain_segmenter)
