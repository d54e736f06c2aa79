"""``make demo``: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import httpx

from infra.brain.fetch import Brain
from infra.demo.stack import BUNDLES, PAGE_USER, Ports, Stack
from infra.demo.study import ensure_stored, store_files
from infra.local import settings
from infra.local.ports import PortTaken
from infra.local.process import Service, ServiceFailed
from infra.local.settings import VAR, SettingsError

#: Seed of the study that the demo stores: a plain phantom with a tumour, not used in training.
DEMO_SEED = 15

#: From where the calls of the old front end need no log-in, as its operators' guide has them.
LOOPBACK = "127.0.0.0/8,::1"

#: Seconds between two looks at the processes.
_LOOK_SECONDS = 1.0


class Stopped(BaseException):
    """SIGTERM or Ctrl-C. Not an Exception, so that no handler on the way swallows it."""


def main(root: Path = VAR) -> int:
    """Start, print where the page is, keep running; 1 with a sentence when that cannot be."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    stack: Stack | None = None
    try:
        local = settings.load()
        brain = Brain()
        stack = Stack(
            root,
            Ports.of(local),
            model_path=brain.bundles if brain.has_bundles() else BUNDLES,
            web_settings={"LEGACY_TRUSTED_NETWORKS": LOOPBACK},
            lab_settings={"DEVICE": local.device, **local.lab},
        )
        _start(stack, brain)
        _keep(stack)
    except Stopped:
        _say("stopping")
    except (PortTaken, SettingsError, ServiceFailed, httpx.HTTPError, OSError) as error:
        sys.stderr.write(f"make demo: {error}\n")
        return 1
    finally:
        # A second Ctrl-C must not leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if stack is not None:
            stack.stop()
            stack.remove_record()
    _say("stopped; the data is kept")
    return 0


def _start(stack: Stack, brain: Brain) -> None:
    began = time.monotonic()
    stack.start(_say)
    study = ensure_stored(stack.orthanc, stack.root / "phantoms", DEMO_SEED, _say)
    if brain.has_series():
        store_files(stack.orthanc, brain.files, "the real MR series of a brain", _say)
    stack.write_record(study)
    _say(f"started in {time.monotonic() - began:.0f} s; processes and logs: {stack.root}/demo.json")
    print(
        f"Labrelay is ready: {stack.url}  user {PAGE_USER}  password {stack.page_password}",
        flush=True,
    )


def _keep(stack: Stack) -> None:
    """Start again what ends, as a service manager would, so that anything may be killed."""
    waiting = threading.Event()
    while not waiting.wait(_LOOK_SECONDS):
        for name, service in stack.services().items():
            if not service.alive:
                _say(f"{name} has ended; starting it again")
                _restart(stack, name, service)


def _restart(stack: Stack, name: str, service: Service) -> None:
    if name == "rabbitmq":
        stack.rabbitmq.start()
    else:
        service.start()
    stack.update_record()


def _stop(*_: object) -> None:
    raise Stopped


def _say(text: str) -> None:
    print(f"[labrelay] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
