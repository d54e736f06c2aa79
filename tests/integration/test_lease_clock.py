"""A lease that was taken by a clock which was set back since holds nobody up for that long."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from tests.integration.web_requests import written_request
from web.broker import leases
from web.inference.models import Outbox, SiteLease
from web.reconciler import site_lease

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_row_whose_lease_lies_further_ahead_than_any_is_free() -> None:
    row = async_to_sync(written_request)()
    waiting = Outbox.objects.filter(request=row)
    running = timezone.now() + timedelta(seconds=leases.LEASE_SECONDS)
    waiting.update(lease=uuid4(), leased_until=running)
    assert leases.take(uuid4(), 10) == []

    waiting.update(leased_until=running + timedelta(minutes=10))
    assert [taken.request_id for taken in leases.take(uuid4(), 10)] == [row.pk]


def test_a_duty_whose_lease_lies_further_ahead_than_any_is_free() -> None:
    assert site_lease.take("duty", uuid4(), 30)
    assert not site_lease.take("duty", uuid4(), 30)

    SiteLease.objects.update(until=timezone.now() + timedelta(minutes=10))
    assert site_lease.take("duty", uuid4(), 30)
