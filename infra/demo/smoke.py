"""``make smoke``: the path of one click without a person, on ports and data of its own."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import httpx

from infra.demo.reader import PageRefused, Reader, ended
from infra.demo.stack import PAGE_USER, Ports, Stack
from infra.demo.study import ensure_stored
from infra.demo.truth import dice
from infra.local import settings
from infra.local.process import ServiceFailed
from infra.local.settings import SettingsError
from messages.phases import DCE_ROLES

#: Seed of the study; a plain phantom that was not used in training.
SMOKE_SEED = 2

#: Below this overlap with the truth the run counts as failed: far under what the model reaches.
MIN_DICE = 0.6

#: Seconds for one analysis on two busy cores.
ANALYSIS_SECONDS = 600.0


class SmokeFailed(Exception):
    """Something did not happen as it should; the text is the sentence for the user."""


#: What ends the run with a sentence. OSError includes TimeoutError.
EXPECTED = (SmokeFailed, ServiceFailed, PageRefused, SettingsError, httpx.HTTPError, OSError)


def main() -> int:
    """Run once; 0, or 1 with a sentence."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="labrelay-smoke-") as root:
            stack = Stack(Path(root), Ports.free(), lab_settings={"DEVICE": settings.load().device})
            try:
                stack.start(_say)
                _click(stack)
            finally:
                stack.stop()
    except EXPECTED as error:
        sys.stderr.write(f"make smoke: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    _say("smoke passed; everything is stopped")
    return 0


def _click(stack: Stack) -> None:
    study = ensure_stored(stack.orthanc, stack.root / "phantoms", SMOKE_SEED, _say)
    began = time.monotonic()
    with Reader(stack.url, PAGE_USER, stack.page_password) as reader:
        roles = dict(zip(DCE_ROLES, study["series_ids"], strict=True))
        asked = reader.ask(study["study_id"], roles)
        _say(f"asked: request {asked['request_id']}")
        seen = ""

        def tell(request: dict[str, Any]) -> bool:
            nonlocal seen
            if request["state"] != seen:
                seen = request["state"]
                _say(f"{time.monotonic() - began:7.3f} s  {seen}")
            return ended(request)

        request = reader.wait(asked["request_id"], tell, ANALYSIS_SECONDS)
        if request["state"] != "completed":
            failure = request["failure"]
            raise SmokeFailed(f"the request ended as {seen}: {failure and failure['reader']}")
        result = request["result"]
        if not result["tumor_detected"]:
            raise SmokeFailed("no tumour was found in a study that has one")
        for stage, seconds in result["stage_seconds"].items():
            _say(f"{seconds:7.3f} s  {stage}")
        _say(
            f"volume {result['volume_ml']:.2f} ml, diameter {result['longest_diameter_mm']:.1f} mm"
        )
        overlap = dice(_stored(stack, result["seg_instance_id"]), Path(study["truth"]))
        _say(f"Dice with the truth: {overlap:.3f}")
        if overlap < MIN_DICE:
            raise SmokeFailed(f"the stored SEG overlaps the truth by {overlap:.2f} only")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _stored(stack: Stack, instance_id: str) -> bytes:
    answer = httpx.get(
        f"{stack.orthanc.url}/instances/{instance_id}/file",
        auth=(stack.orthanc.user, stack.orthanc.password),
        timeout=30.0,
    )
    return answer.raise_for_status().content


def _say(text: str) -> None:
    print(f"[smoke] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
