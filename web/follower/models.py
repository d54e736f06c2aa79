"""What the archive holds, as far as the site has followed it. Nothing of a patient.

Ids and UIDs lead back to a patient for whoever has the archive: they are pseudonyms.
"""

from __future__ import annotations

from django.db import models


class IndexedStudy(models.Model):
    """A study that the archive held when it was looked at last."""

    #: Orthanc's id.
    study_id = models.CharField(max_length=44, primary_key=True)
    study_uid = models.CharField(max_length=64)
    #: DA and TM as the images have them, or empty: no text of any other form.
    study_date = models.CharField(max_length=8, blank=True)
    study_time = models.CharField(max_length=16, blank=True)
    #: When this site first saw it: not when the archive was given it.
    first_seen_at = models.DateTimeField(auto_now_add=True)
    looked_at = models.DateTimeField()

    class Meta:
        """Read by when it came and by when it was looked at."""

        indexes = (
            models.Index(fields=["-first_seen_at"], name="study_newest"),
            models.Index(fields=["looked_at"], name="study_to_look_at"),
        )

    def __str__(self) -> str:
        return self.study_id


class IndexedSeries(models.Model):
    """A series of it."""

    #: Orthanc's id.
    series_id = models.CharField(max_length=44, primary_key=True)
    study = models.ForeignKey(IndexedStudy, on_delete=models.CASCADE, related_name="series")
    series_uid = models.CharField(max_length=64)
    #: CS, for instance ``MR``; empty where it is none.
    modality = models.CharField(max_length=16, blank=True)
    instance_count = models.PositiveIntegerField()
    #: Whether nothing was stored into it for the archive's StableAge. The archive remembers that in
    #: memory: after its restart every series is stable (`web.phases.arriving`).
    stable = models.BooleanField()
    first_seen_at = models.DateTimeField(auto_now_add=True)
    looked_at = models.DateTimeField()

    class Meta:
        """The sweep takes the one first that was not looked at for the longest."""

        indexes = (models.Index(fields=["looked_at"], name="series_to_look_at"),)

    def __str__(self) -> str:
        return self.series_id


class ArchivePlace(models.Model):
    """How far the archive's changes have been followed: one row."""

    #: There is one archive.
    name = models.CharField(max_length=31, primary_key=True)
    #: Number of the last change that was read.
    seq = models.BigIntegerField()
    #: That change as it was read, by which the log is known again; empty when it is not known.
    anchor = models.JSONField(default=dict)
    #: How many studies a walk through all of them has passed; empty while there is none.
    walked = models.PositiveIntegerField(null=True)
    #: When the last walk began, and when it ended.
    walk_began_at = models.DateTimeField(null=True)
    walk_ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} {self.seq}"
