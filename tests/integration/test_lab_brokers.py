"""A lab with several brokers: which one it tries first."""

from __future__ import annotations

import socket
import threading

from consumer.amqp.link import Brokers
from tests.integration.nodes import TestBroker


def test_the_broker_that_was_just_lost_is_tried_last(rabbit: TestBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        tried: list[str] = []

        def refuse() -> None:
            while True:
                try:
                    caller, _ = other.accept()
                except OSError:
                    return
                tried.append("other")
                caller.close()

        threading.Thread(target=refuse, daemon=True).start()
        port = other.getsockname()[1]
        url = rabbit.url("lab1")
        brokers = Brokers((url, url.replace(f":{rabbit.node.amqp_port}/", f":{port}/")))

        brokers.connect(heartbeat=15, name="first").close()
        tried_at_first = list(tried)
        brokers.connect(heartbeat=15, name="second").close()
        other.shutdown(socket.SHUT_RDWR)

    assert not tried_at_first
    assert "other" in tried
