"""Faults of what a page is told without asking: a change while it joins, and every hint lost."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

from infra.local.process import wait_until
from tests.faults.clicks import computing
from tests.faults.joining import Moment, kept_waiting, wait_reached
from tests.faults.one_socket import OneSocket
from tests.faults.other_site import served_otherwise
from tests.faults.press import Click
from tests.faults.readers import readers
from tests.faults.rows import row
from tests.faults.witness import Witness
from tests.faults.world import PATIENCE, World

#: Seconds within which a page that lost every hint must be told all the same: some looks of
#: `web.live.watch`, on a busy machine.
HEALED = 30.0

#: Clicks that pages join, and pages that join each of them.
CLICKS, JOINS = 8, 10

#: A site that looks at nothing again: what is lost between joining and snapshot stays lost.
LATE_JOINS = {"DJANGO_SETTINGS_MODULE": "tests.faults.late_join_site"}


@row(
    "browser",
    "a request ends while a page joins: between its joining and its snapshot, and just before",
    injected="a site that looks at no request again by itself; its channel layer keeps a socket "
    "waiting in the call that joins the request's group, once when it has joined and once when it "
    "has not; the outcome comes and is read by a fresh load; then the socket goes on",
)
def ended_while_joining(world: World) -> None:
    beside = world.database.parent
    with served_otherwise(world, LATE_JOINS), ThreadPoolExecutor(1) as thread:
        for moment in Moment:
            click = computing(world)
            world.wait_state(click, "inferring")
            # It comes back every few seconds, and would be the one that waits.
            click.witness.stop()
            socket = OneSocket(world.reader, click)
            with kept_waiting(beside, moment):
                listening = thread.submit(socket.listen, HEALED)
                wait_reached(beside, moment)
                world.bundle.release()
                world.wait_state(click, "completed")
                assert socket.versions == [], f"told {socket.versions} before it was {moment}"
            told = listening.result()
            version = world.state(click)["version"]
            assert told == [version], f"{moment}: told {told}, and it is {version}"
            click.witness = Witness(world.reader, click.request_id)


@row(
    "browser",
    "requests change while pages join, at any moment",
    injected=f"{CLICKS * JOINS} sockets that begin to follow {CLICKS} requests at random moments "
    "of their running, each kept open until it has told an outcome; a site that looks at no "
    "request again by itself",
)
def changes_while_joining(world: World) -> None:
    seeds = random.Random(5)
    with (
        served_otherwise(world, LATE_JOINS),
        ThreadPoolExecutor(CLICKS * JOINS) as threads,
    ):
        who = readers(world, world.stack.ports.web)
        told = []
        for _ in range(CLICKS):
            click = world.click()
            # Over the time that all of them take together: the lab does one after the other.
            told += [
                (
                    click,
                    threads.submit(
                        OneSocket(one, click).listen, PATIENCE, wait=seeds.uniform(0.0, 8.0)
                    ),
                )
                for one in who[:JOINS]
            ]
        first = set()
        for click, versions in told:
            seen = versions.result(PATIENCE)
            assert seen == sorted(set(seen)), f"{click.request_id}: told in the order {seen}"
            assert seen[-1] == world.state(click)["version"], f"{click.request_id}: told {seen}"
            first.add(seen[0])
    assert len(first) > 2, f"all joined at the same point: {first}"


@row(
    "browser",
    "the channel layer loses everything",
    injected="a site whose channel layer drops every message and every group; one socket that has "
    "its snapshot and a call of the old front end that is taken, before the outcome comes",
    measures="outcome written to told over the socket",
    in_suite=True,
)
def deaf_channel_layer(world: World) -> float:
    settings = {"DJANGO_SETTINGS_MODULE": "tests.faults.deaf_site", "DEFAULT_MODEL": "held"}
    with served_otherwise(world, settings), ThreadPoolExecutor(2) as threads:
        click = computing(world)
        asked = _times_asked(world, click)
        socket = OneSocket(world.reader, click)
        listening = threads.submit(socket.listen, PATIENCE)
        series = [item.series_id for item in click.study.inputs]
        # The same images and model: it waits for the same request.
        path = f"/api/mri/segmentation/series/{series[0]}/segment/"
        waiting = threads.submit(world.reader.post, path, {"sequence_series_ids": series})
        wait_until(lambda: bool(socket.versions), "have a snapshot", HEALED)
        wait_until(lambda: _times_asked(world, click) > asked, "take the call", HEALED)
        assert not waiting.done(), "the call did not wait"
        world.bundle.release()
        written = world.wait_state(click, "completed")
        versions = listening.result(HEALED)
        assert len(versions) > 1, f"nothing was told after the snapshot: {versions}"
        assert versions[-1] == world.state(click)["version"], f"told {versions}"
        assert socket.ended is not None
        answer = waiting.result(HEALED)
        assert answer.status_code == 200, answer.text
        return socket.ended - written


def _times_asked(world: World, click: Click) -> int:
    """How often somebody asked for what became this request, by the audit trail."""
    query = (
        "SELECT COUNT(*) FROM labrelay_door_auditentry WHERE action = 'requested' AND subject = ?"
    )
    ((times,),) = world.ask_database(query, click.request_id)
    return int(times)
