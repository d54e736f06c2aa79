"""Which group sees which study, machines' tokens, and who did what."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from messages.envelope import ORTHANC_ID_PATTERN


class StudyGrant(models.Model):
    """Members of the group see the study, or every study."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="study_grants")
    #: Orthanc's id of the study; empty: every study.
    study_id = models.CharField(
        _("study"),
        max_length=44,
        blank=True,
        validators=[RegexValidator(rf"\A(?:{ORTHANC_ID_PATTERN.strip('^$')})\Z")],
        help_text=_("Orthanc's id of the study. Empty: every study."),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """A grant is given once."""

        verbose_name = _("study grant")
        verbose_name_plural = _("study grants")
        constraints = (
            models.UniqueConstraint(fields=["group", "study_id"], name="grant_is_given_once"),
        )

    def __str__(self) -> str:
        return f"{self.group}: {self.study_id or '*'}"


class ApiToken(models.Model):
    """A machine's way in: what it presents is shown once, and only its hash is kept."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    #: What it is for, as its maker wrote.
    name = models.CharField(max_length=80)
    #: SHA-256 of the token, in hex. It is 256 random bits: no salt and no slow hash is needed.
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    #: To the minute, so that a busy machine does not write with every call.
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        """Newest first."""

        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """Who asked, viewed or exported what, and when. Never changed; pseudonymous ids only."""

    at = models.DateTimeField(auto_now_add=True)
    #: `web.access.audit.Action`.
    action = models.CharField(max_length=32)
    #: Empty for the old calls from a trusted network. The id stays when the user is deleted, and
    #: hinders nobody from deleting them.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    #: How they came in: session, token, network.
    way = models.CharField(max_length=16)
    #: The reader's address, as the proxy tells it.
    address = models.GenericIPAddressField(null=True)
    study_id = models.CharField(max_length=44, blank=True)
    #: A request, series or instance, where the action is about one.
    subject = models.CharField(max_length=64, blank=True)

    class Meta:
        """Newest first; by study, to answer who has seen it."""

        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering = ("-at", "-id")
        indexes = (
            models.Index(fields=["-at"], name="audit_newest"),
            models.Index(fields=["study_id", "-at"], name="audit_by_study"),
        )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action}"
