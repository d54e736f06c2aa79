"""What the labs last told of themselves."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models as db
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from messages.lab import OFFLINE_AFTER_SECONDS, SERVING


class Lab(db.Model):
    """The newest heartbeat of a lab. Kept when it goes offline: its models stay on offer."""

    name = db.CharField(max_length=63, primary_key=True)
    pool = db.CharField(max_length=63)
    device = db.CharField(max_length=128)
    #: `messages.lab.ModelDescriptor`, one each.
    models = db.JSONField()
    #: Ids of the requests that it holds.
    current = db.JSONField()
    #: `messages.lab.LabHeartbeat.condition`.
    condition = db.CharField(max_length=63, default=SERVING, db_default=SERVING)
    #: When the site heard of it, by the site's clock: a lab's clock may be wrong.
    last_seen = db.DateTimeField()

    class Meta:
        """By name."""

        verbose_name = _("lab")
        verbose_name_plural = _("labs")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def online_at(self, now: datetime) -> bool:
        """Whether the last three heartbeats did not all fail to come."""
        return now - self.last_seen <= timedelta(seconds=OFFLINE_AFTER_SECONDS)

    @property
    def online(self) -> bool:
        """Whether it is there now."""
        return self.online_at(timezone.now())
