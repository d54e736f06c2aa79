"""The peer of `benchmarks.latency`: Celery on the same broker. Imports nothing of ours.

The worker is `celery -A benchmarks.celery_peer worker`; the client is this module as a script,
which hands in a task for each line that it reads and answers with three times. The broker's URL
comes in CELERY_BROKER_URL, which Celery reads by itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from celery import Celery
from kombu import Queue

app = Celery("peer")
app.conf.update(
    # As our queues and messages: quorum, persistent, confirmed, acknowledged after the work.
    task_queues=[Queue("peer", queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue="peer",
    task_acks_late=True,
    task_ignore_result=True,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    # One delivery at a time, as our lab takes them.
    worker_concurrency=1,
    worker_prefetch_multiplier=1,
    # Only for tasks with a delay, of which there are none: no 28 further quorum queues.
    broker_native_delayed_delivery_queue_type="classic",
)


@app.task(name="start")
def start(body: str, pipe: str) -> None:  # noqa: ARG001 - the body only travels
    """Say when the task started."""
    now = time.time()
    with Path(pipe).open("w") as stream:
        stream.write(f"{now!r}\n")


def main() -> None:
    """Per line of input, one task: print when it was handed in, was confirmed, and started."""
    pipe = sys.argv[1]
    # Opened for both ways, so that it has no end between two tasks.
    with os.fdopen(os.open(pipe, os.O_RDWR)) as started:
        for line in sys.stdin:
            handed_in = time.time()
            start.apply_async((line.strip(), pipe))
            confirmed = time.time()
            times = (handed_in, confirmed, float(started.readline()))
            print("answer", json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
