"""How long the reconciler waits before it takes something for lost, stuck or over."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds between two looks of the reconciler when nothing wakes it.
TURN_SECONDS = 5.0


@dataclass(frozen=True)
class Pace:
    """Every waiting time of the reconciler, in seconds. Tests take shorter ones."""

    turn_s: float = TURN_SECONDS

    #: Between two turns that are begun for what is told of cancelled requests. The first is at
    #: once; what is told meanwhile gathers for the next, which comes on time of itself.
    wake_s: float = 1.0

    #: A site process is the reconciler for this long after it last said so.
    lease_s: float = 30.0

    #: So long must this process have heard the broker without a break before it takes silence
    #: for silence: six heartbeats of a lab, and what lay in ``mri.replies`` is read.
    heard_s: float = 60.0

    #: A lab tells `deadline_exceeded` by itself; so much later the site does.
    grace_s: float = 30.0

    #: Between a cancel and the conclusion that no lab holds the request.
    cancel_s: float = 10.0

    #: The same for a request that only waits in a queue: what a lab that has taken it just now has
    #: told is heard by then. One that takes it later is told to stop.
    untaken_s: float = 1.0

    #: A request that nothing was told of for this long may be lost, where nothing waits in the
    #: pool's queues. Doubled each time that it was sent again, so that what loses requests is not
    #: fed without end, up to `MOST_DOUBLINGS` times.
    lost_s: float = 120.0

    #: The same where something waits in the pool's queues and does not explain the silence. Longer
    #: than the longest retry tier, in which a lab may have put a request off without a word.
    unexplained_s: float = 900.0

    #: A lab that listed a request so recently may hold it still: it was cut off up to ten seconds
    #: after that, and the broker needs up to 45 s to notice and to give the delivery to another.
    gone_s: float = 90.0

    #: A request must look lost for this long at a stretch. Whoever took it from the queue just
    #: before that was found empty has told so by then, by `accepted` and by a heartbeat.
    sure_s: float = 30.0

    #: So long a decision waits for an archive that does not say what it holds.
    archive_s: float = 600.0


#: Times that `Pace.lost_s` is doubled, from two minutes to about an hour, and
#: `Pace.unexplained_s`, to eight hours.
MOST_DOUBLINGS = 5
