"""The clinic's own user model."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Account(AbstractUser):
    """Somebody who works here."""

    ward = models.CharField(max_length=20, blank=True)
