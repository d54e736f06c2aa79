"""What a reader thinks of a stored result. A row is written once and never changed."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

#: Characters of a reader's own text: a page of it.
MAX_TEXT = 2000


class Decision(StrEnum):
    """What a reader says of a result."""

    #: It is right, as far as the reader can see.
    ACCEPTED = "accepted"
    #: It is not; the text says why.
    REJECTED = "rejected"
    #: A remark. The decision that stands is left as it is.
    COMMENTED = "commented"


#: Of these the latest one stands.
DECIDING = frozenset({Decision.ACCEPTED, Decision.REJECTED})

#: One word for each, for staff and on the page.
DECISION_LABELS = {
    Decision.ACCEPTED: _("Accepted"),
    Decision.REJECTED: _("Rejected"),
    Decision.COMMENTED: _("Comment"),
}


class Verdict(models.Model):
    """One reader's word about one result. Kept here only: the archive never learns of it."""

    request = models.ForeignKey(
        "labrelay_inference.InferenceRequest", on_delete=models.CASCADE, related_name="verdicts"
    )
    decision = models.CharField(
        max_length=16, choices=[(key.value, label) for key, label in DECISION_LABELS.items()]
    )
    #: What the reader wrote; it may name a patient, and so enters no log and no audit entry.
    text = models.CharField(max_length=MAX_TEXT, blank=True)
    #: Without a constraint, as in the audit trail: the number stays when the user is deleted.
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    at = models.DateTimeField(auto_now_add=True)
    #: The key under which the reader's click named itself; empty without.
    key = models.CharField(max_length=255, blank=True)

    class Meta:
        """Newest first."""

        verbose_name = _("verdict")
        verbose_name_plural = _("verdicts")
        ordering = ("-at", "-id")
        constraints = (
            # Two clicks with one key: the second transaction fails on this, whoever is first.
            models.UniqueConstraint(
                fields=["by", "key"], name="key_names_one_verdict", condition=~Q(key="")
            ),
            models.CheckConstraint(
                name="rejection_has_a_reason",
                condition=Q(decision=Decision.ACCEPTED.value) | ~Q(text=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.request_id} {self.decision}"
