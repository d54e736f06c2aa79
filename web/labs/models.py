"""The labs that staff have confirmed, what they last told of themselves, and strangers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import cast

from django.conf import settings
from django.db import models as db
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from messages.lab import OFFLINE_AFTER_SECONDS, SERVING

#: Seconds by which the clocks of two processes of this site may differ: a lab that another one has
#: just heard is online. More than that ahead, and the clock was set back: nobody knows.
CLOCKS_APART_SECONDS = 2

#: Heartbeats whose clock is remembered: the smallest difference of them is the clock's, and what
#: the others have more is the time that they lay in a queue.
BEATS_COMPARED = 10

#: Seconds between a lab's clock and the site's from which on staff are warned.
SKEW_SECONDS = 30.0


class Lab(db.Model):
    """A lab and its newest heartbeat. Kept when it goes offline: its models stay on offer.

    One that staff have not confirmed is shown to staff, and counts for nothing else.
    """

    name = db.CharField(max_length=63, primary_key=True)
    #: Of a confirmed lab as staff gave it; of another as it named it last.
    pool = db.CharField(max_length=63)
    device = db.CharField(max_length=128)
    #: `messages.lab.ModelDescriptor`, one each: those that it serves and that are known.
    models = db.JSONField()
    #: Ids of the requests that its processes hold, together.
    current = db.JSONField()
    #: What each of them said last: `process`, `at` by the site's clock, `current`; the newest last.
    #: One that is silent for as long as makes a lab offline is no longer here.
    processes = db.JSONField(null=True)
    #: `messages.lab.LabHeartbeat.condition`.
    condition = db.CharField(max_length=63, default=SERVING, db_default=SERVING)
    #: When the site heard of it, by the site's clock: a lab's clock may be wrong. None: never.
    last_seen = db.DateTimeField(null=True)
    #: When staff confirmed it, and who; a command on the server has no user.
    confirmed_at = db.DateTimeField(null=True)
    confirmed_by = db.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=db.SET_NULL, related_name="+"
    )
    #: The pool that its newest heartbeat names; another than `pool` is a conflict.
    told_pool = db.CharField(max_length=63, blank=True, default="", db_default="")
    #: Fingerprints of the models that it serves; None of a lab that names none.
    served = db.JSONField(null=True)
    #: By how many seconds its clock was behind the site's in its last heartbeats, the newest last.
    clock_differences = db.JSONField(null=True)

    class Meta:
        """By name."""

        verbose_name = _("lab")
        verbose_name_plural = _("labs")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def online_at(self, now: datetime) -> bool:
        """Whether staff know it, and its last three heartbeats did not all fail to come."""
        if self.confirmed_at is None or self.last_seen is None:
            return False
        since, until = heard_lately(now)
        return since <= self.last_seen <= until

    @property
    def online(self) -> bool:
        """Whether it is there now."""
        return self.online_at(timezone.now())

    @property
    def conflict(self) -> bool:
        """Whether it names another pool than staff have given it."""
        return self.confirmed_at is not None and self.told_pool not in {"", self.pool}

    @property
    def skew(self) -> float | None:
        """Seconds by which its clock is behind the site's (ahead: negative); None: not known."""
        differences = cast("list[float]", self.clock_differences or [])
        return min(differences, key=abs, default=None)

    @property
    def clock_is_wrong(self) -> bool:
        """Whether staff should set its clock."""
        return self.skew is not None and abs(self.skew) > SKEW_SECONDS


def heard_lately(
    now: datetime, within_s: float = OFFLINE_AFTER_SECONDS
) -> tuple[datetime, datetime]:
    """Between which times a lab was last seen that is online, or was heard within so long.

    Not in the future: a clock that was set back must not keep a lab online that is gone.
    """
    return now - timedelta(seconds=within_s), now + timedelta(seconds=CLOCKS_APART_SECONDS)


class ServedModel(db.Model):
    """A model as a lab described it, kept under the fingerprint that its heartbeats name."""

    lab = db.ForeignKey(Lab, on_delete=db.CASCADE, related_name="descriptions")
    fingerprint = db.CharField(max_length=64)
    #: `messages.lab.ModelDescriptor`.
    described = db.JSONField()
    heard_at = db.DateTimeField(default=timezone.now)

    class Meta:
        """Each once."""

        constraints = (
            db.UniqueConstraint(fields=["lab", "fingerprint"], name="a_lab_describes_it_once"),
        )

    def __str__(self) -> str:
        return self.fingerprint[:12]


#: Of the labs that count.
CONFIRMED = Q(confirmed_at__isnull=False)
