"""What the site keeps: requests, what is to be sent, what was heard, and dead letters.

A column that a later version adds has a default in the database too: between the migration and the
restart the older site goes on writing rows without it.
"""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from web.inference.result_state import MAX_REASON, InputState, ResultState
from web.inference.states import ACTIVE, State
from web.inference.verdict import Verdict  # noqa: F401 - a model of this app

#: Bytes of a dead letter that are kept: the largest message of ours, whole.
MAX_LETTER_BYTES = 64 * 1024


class InferenceRequest(models.Model):
    """One click. `changes.change_for` alone changes the columns from `state` to `held_for`."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    #: Raised by every change; pages drop what is not newer than what they show.
    version = models.PositiveIntegerField(default=1)

    pool = models.CharField(max_length=63)
    model = models.CharField(max_length=63)
    #: Orthanc's id of the study, and its UID.
    study_id = models.CharField(max_length=44)
    study_uid = models.CharField(max_length=64)
    #: `messages.request.InputSeries` in role order, as they travel.
    inputs = models.JSONField()
    threshold = models.FloatField(null=True)
    #: Seconds from acceptance to the end.
    deadline_s = models.PositiveIntegerField()
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: The ended request that this one repeats.
    retry_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    state = models.CharField(
        max_length=16, choices=[(state.value, state.value) for state in State], default=State.QUEUED
    )
    #: Position of the last applied event.
    attempt = models.PositiveIntegerField(default=1)
    delivery = models.PositiveIntegerField(default=0)
    sequence = models.IntegerField(default=-1)
    published_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    progress = models.JSONField(null=True)
    failure_code = models.CharField(max_length=32, blank=True)
    failure_detail = models.CharField(max_length=500, blank=True)
    result = models.JSONField(null=True)
    lab = models.CharField(max_length=63, blank=True)
    cancel_asked_at = models.DateTimeField(null=True)
    replayed_at = models.DateTimeField(null=True)
    #: `states.Hold`: why its message is held back; empty where it is not.
    held_for = models.CharField(max_length=32, blank=True, default="", db_default="")

    #: By the site's clock: when a change was last written, progress included; of a cancelled
    #: request when a lab was last heard of it.
    changed_at = models.DateTimeField(default=timezone.now, db_default=Now())
    #: SHA-256 in hex of what is asked for (`web.inference.fingerprint`): while one request of it
    #: is active, the same again is that request. Empty where it was never computed.
    wish = models.CharField(max_length=64, blank=True, default="", db_default="")
    #: Whether the study still holds what the result was computed from, and the archive the result.
    #: Follower, pages and staff write both (`web.inference.compare`, `web.inference.withdraw`).
    input_state = models.CharField(
        max_length=16,
        choices=[(state.value, state.value) for state in InputState],
        default=InputState.UNKNOWN,
        db_default=InputState.UNKNOWN.value,
    )
    result_state = models.CharField(
        max_length=16,
        choices=[(state.value, state.value) for state in ResultState],
        default=ResultState.STORED,
        db_default=ResultState.STORED.value,
    )
    #: Of the chosen series as they were when the state above was found: while it is the same,
    #: nothing is compared again.
    input_fingerprint = models.CharField(max_length=64, blank=True, default="", db_default="")
    #: When the archive was last compared with this result.
    compared_at = models.DateTimeField(null=True)
    #: When staff withdrew the result, who and why; the words may name a patient.
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    withdrawn_reason = models.CharField(
        max_length=MAX_REASON, blank=True, default="", db_default=""
    )
    #: When the archive is to be looked at for objects of this request, which is cancelled or whose
    #: result was filed in another study; empty when no look is owed any more
    #: (`web.reconciler.sweep`).
    sweep_due_at = models.DateTimeField(null=True)

    #: When the archive is to be asked for the result that a lab has reported; empty when no look is
    #: owed (`web.confirming`).
    confirm_due_at = models.DateTimeField(null=True)
    #: How often it has answered without it, in a row.
    confirm_misses = models.PositiveSmallIntegerField(default=0, db_default=0)
    #: Seconds by stage, as the lab that reported the result has timed them.
    reported_seconds = models.JSONField(null=True)

    class Meta:
        """Read by study (a study's page) and by time (the worklist)."""

        verbose_name = _("request")
        verbose_name_plural = _("requests")
        indexes = (
            models.Index(fields=["study_id", "-created_at"], name="request_by_study"),
            models.Index(fields=["-created_at"], name="request_newest"),
            models.Index(
                fields=["changed_at"],
                name="request_unfinished",
                condition=Q(state__in=sorted(ACTIVE | {State.CANCELLING})),
            ),
            models.Index(
                fields=["sweep_due_at"],
                name="request_to_sweep",
                condition=Q(sweep_due_at__isnull=False),
            ),
            models.Index(
                fields=["pool", "confirm_due_at"],
                name="request_to_confirm",
                condition=Q(confirm_due_at__isnull=False),
            ),
            models.Index(
                fields=["compared_at"],
                name="result_to_compare",
                condition=Q(state=State.COMPLETED.value) & Q(withdrawn_at=None),
            ),
        )
        constraints = (
            # Not a look before the write, which two clicks at once would both pass.
            models.UniqueConstraint(
                fields=["wish"],
                name="one_active_request_a_wish",
                condition=Q(state__in=sorted(ACTIVE)) & ~Q(wish=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class RequestEvent(models.Model):
    """A change of a request's state, run or failure. Progress within a stage is not kept."""

    request = models.ForeignKey(InferenceRequest, on_delete=models.CASCADE, related_name="events")
    #: Of the request after the change: the order of its history.
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=16)
    #: By the site's clock; in rows of before what a lab told is by that lab's.
    at = models.DateTimeField()
    attempt = models.PositiveIntegerField()
    delivery = models.PositiveIntegerField()
    #: Empty as long as no lab has spoken.
    lab = models.CharField(max_length=63, blank=True)
    #: `messages.failures.FailureCode`, or empty.
    code = models.CharField(max_length=32, blank=True)

    class Meta:
        """In order; a version is reached once."""

        ordering = ("version",)
        constraints = (
            models.UniqueConstraint(fields=["request", "version"], name="version_is_reached_once"),
        )

    def __str__(self) -> str:
        return f"{self.version} {self.state}"


class Outbox(models.Model):
    """A message that must reach the broker; written in the transaction that decided on it."""

    request = models.ForeignKey(InferenceRequest, on_delete=models.CASCADE, related_name="+")
    #: Of the AMQP message: a second publish after a crash carries the same.
    message_id = models.UUIDField(unique=True)
    exchange = models.CharField(max_length=127)
    routing_key = models.CharField(max_length=255)
    type = models.CharField(max_length=63)
    body = models.BinaryField()
    headers = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    #: While this lies ahead, the relay that knows `lease` publishes the row.
    leased_until = models.DateTimeField(null=True)
    lease = models.UUIDField(null=True)
    #: Whether a relay has ever had it: then the broker may have it, whatever the lease says.
    attempted = models.BooleanField(default=False, db_default=False)
    #: Whether no relay may take it yet (`InferenceRequest.held_for`).
    held = models.BooleanField(default=False, db_default=False)
    #: When the broker confirmed it.
    sent_at = models.DateTimeField(null=True)

    class Meta:
        """Only what is not sent is ever looked for."""

        verbose_name_plural = "outbox"
        indexes = (models.Index(fields=["id"], name="outbox_unsent", condition=Q(sent_at=None)),)

    def __str__(self) -> str:
        return f"{self.type} {self.message_id}"


class IdempotencyKey(models.Model):
    """A click that named itself: the same key of the same user is the same request."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    #: SHA-256 of what was asked, in hex: the same key with another wish is a mistake.
    digest = models.CharField(max_length=64)
    request = models.ForeignKey(InferenceRequest, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Two clicks with one key: the second transaction fails on this, whoever is first."""

        constraints = (
            models.UniqueConstraint(fields=["user", "key"], name="key_names_one_request"),
        )

    def __str__(self) -> str:
        return self.key


class SeenEvent(models.Model):
    """An event that changed its request: a second copy changes nothing."""

    event_id = models.UUIDField(primary_key=True)
    seen_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return str(self.event_id)


class DeadLetter(models.Model):
    """A message that the broker gave up or that could not be read."""

    received_at = models.DateTimeField(auto_now_add=True)
    #: The queue it died in, and why, as the broker says it.
    queue = models.CharField(max_length=255, blank=True)
    reason = models.CharField(max_length=63, blank=True)
    type = models.CharField(max_length=255, blank=True)
    message_id = models.CharField(max_length=255, blank=True)
    correlation_id = models.CharField(max_length=255, blank=True)
    routing_key = models.CharField(max_length=255, blank=True)
    content_type = models.CharField(max_length=255, blank=True, default="", db_default="")
    #: The user of the broker that has sent it, as the broker has checked. Empty where it was not
    #: said, and of letters that an older version has kept.
    user_id = models.CharField(max_length=255, blank=True, default="", db_default="")
    size = models.PositiveIntegerField()
    #: At most `MAX_LETTER_BYTES`, as received: a stranger's bytes, never shown on a page.
    body = models.BinaryField()
    request = models.ForeignKey(
        InferenceRequest, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    #: When staff dealt with it, how and who; empty as long as nobody has.
    settled_at = models.DateTimeField(null=True)
    settled_as = models.CharField(
        max_length=16,
        blank=True,
        default="",
        db_default="",
        choices=[
            ("replayed", _("replayed")),
            ("discarded", _("discarded")),
            # By the site itself, once it could.
            ("applied", _("applied")),
        ],
    )
    settled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        """Newest first."""

        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        ordering = ("-received_at", "-id")
        indexes = (
            models.Index(fields=["-received_at"], name="letter_newest"),
            models.Index(
                fields=["user_id", "reason"],
                name="letter_open_by_sender",
                condition=Q(settled_at=None),
            ),
        )

    def __str__(self) -> str:
        return f"{self.type or '?'} from {self.queue or '?'}"


class LettersBeyond(models.Model):
    """Letters of a sender that were counted and not kept: there were too many of theirs."""

    #: A user of the broker, or the queue where nobody signed.
    sender = models.CharField(max_length=255, primary_key=True)
    count = models.PositiveBigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        """The latest first."""

        verbose_name = _("letters not kept")
        verbose_name_plural = _("letters not kept")
        ordering = ("-last_at",)

    def __str__(self) -> str:
        return f"{self.sender}: {self.count}"


class SiteLease(models.Model):
    """Which process does what only one may do, until when: taken by compare-and-swap."""

    name = models.CharField(max_length=31, primary_key=True)
    holder = models.UUIDField()
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} {self.holder}"
