"""Bearer tokens: made once, kept as a hash, valid until revoked, expired or the user is gone."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.integration.test_web_api import REQUESTS, body, error_of, store
from tests.site import reader_of, use_archive
from web.access.audit import Action, Way
from web.access.limits import Kind, allowed
from web.access.models import ApiToken, AuditEntry
from web.access.tokens import issue, user_of_token
from web.inference.models import InferenceRequest

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader() -> User:
    return reader_of()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def command(*words: str) -> str:
    out = StringIO()
    call_command("token", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_token_is_kept_as_a_hash_only(reader: User) -> None:
    token = issue(reader, "ward 7")
    assert token.startswith("lrt_")
    assert len(token) == 47
    row = ApiToken.objects.get()
    assert token not in "".join(map(str, vars(row).values()))
    assert user_of_token(f"Bearer {token}") == user_of_token(f"bearer  {token} ") == reader


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer x", "Bearer lrt_", "Basic {}", "{}", "Bearer {}x"]
)
def test_what_is_no_token_is_nobody(reader: User, header: str) -> None:
    assert user_of_token(header.format(issue(reader, "t"))) is None


def test_a_token_ends_with_its_time_its_user_and_its_row(reader: User) -> None:
    now = timezone.now()
    assert user_of_token(f"Bearer {issue(reader, 'old', now - timedelta(seconds=1))}") is None
    token = issue(reader, "t", now + timedelta(days=1))
    assert user_of_token(f"Bearer {token}") == reader
    reader.is_active = False
    reader.save()
    assert user_of_token(f"Bearer {token}") is None
    reader.is_active = True
    reader.save()
    ApiToken.objects.all().delete()
    assert user_of_token(f"Bearer {token}") is None


def test_use_is_noted_to_the_minute(reader: User) -> None:
    token = issue(reader, "t")
    assert ApiToken.objects.get().last_used_at is None
    user_of_token(f"Bearer {token}")
    first = ApiToken.objects.get().last_used_at
    user_of_token(f"Bearer {token}")
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=1))
    user_of_token(f"Bearer {token}")
    assert ApiToken.objects.get().last_used_at > first - timedelta(seconds=1)


def test_a_machine_asks_without_cookie_and_without_origin(
    reader: User, orthanc: Any, settings: Any
) -> None:
    use_archive(settings, orthanc)
    machine = Client(enforce_csrf_checks=True, headers=bearer(issue(reader, "t")))
    answer = machine.post(REQUESTS, body(*store(orthanc, 4)), content_type="application/json")
    assert answer.status_code == 202
    assert machine.get(answer.headers["Location"]).json() == answer.json()
    assert InferenceRequest.objects.get().requested_by == reader
    entry = AuditEntry.objects.get(action=Action.REQUESTED)
    assert (entry.way, entry.user) == (Way.TOKEN, reader)


def test_a_wrong_token_is_401_also_beside_a_log_in(reader: User) -> None:
    client = Client()
    client.force_login(reader)
    for headers in (bearer("lrt_wrong"), {"Authorization": "Bearer"}):
        answer = client.get(REQUESTS, headers=headers)
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "unauthorized"
    # A proxy's own log-in is not ours.
    assert client.get(REQUESTS, headers={"Authorization": "Basic eDp5"}).status_code == 200


def test_a_users_tokens_have_one_limit_from_whichever_address(reader: User) -> None:
    tokens = [issue(reader, "a"), issue(reader, "b")]
    other = issue(reader_of(name="other"), "c")
    for number in range(300):
        called(tokens[number % 2], f"192.0.2.{number % 200}")
    answer = called(tokens[0], "198.51.100.1")
    assert answer.status_code == 429
    assert error_of(answer)["code"] == "too_many_requests"
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["Cache-Control"] == "private, no-store"
    # Neither the other machine behind the same address nor a reader is kept out.
    assert called(other, "198.51.100.1").status_code == 422
    assert called("", "198.51.100.1").status_code == 401


def called(token: str, address: str) -> Any:
    headers = bearer(token) if token else {}
    machine = Client(headers=headers, REMOTE_ADDR=address)
    return machine.post(REQUESTS, "{}", content_type="application/json")


def test_wrong_tokens_are_counted_by_their_address_and_apart_from_readers(reader: User) -> None:
    while allowed(Kind.CHANGE, "token address 192.0.2.1") is None:
        pass
    assert called("lrt_wrong", "192.0.2.1").status_code == 429
    assert called("", "192.0.2.1").status_code == 401
    for _ in range(300):
        allowed(Kind.CHANGE, "address 192.0.2.2")
    assert called("", "192.0.2.2").status_code == 429
    assert called(issue(reader, "t"), "192.0.2.2").status_code == 422
    for _ in range(300):
        assert called("lrt_wrong", "192.0.2.3").status_code == 401
    assert called("lrt_wrong", "192.0.2.3").status_code == 429


def test_a_token_sees_what_its_user_sees(reader: User) -> None:
    stranger = reader_of("-".join(["0123abcd"] * 5), name="stranger")
    InferenceRequest.objects.create(
        pool="lab", model="m", study_id="x", study_uid="1", inputs=[], deadline_s=1
    )
    counts = [
        len(Client().get(REQUESTS, headers=bearer(issue(user, "t"))).json()["requests"])
        for user in (reader, stranger)
    ]
    assert counts == [1, 0]


def test_the_command_makes_lists_and_revokes(reader: User) -> None:
    token = command("create", "reader", "ward 7", "--days", "30").strip()
    assert user_of_token(f"Bearer {token}") == reader
    row = ApiToken.objects.get()
    assert timedelta(days=29) < row.expires_at - timezone.now() < timedelta(days=31)
    listed = command("list")
    assert f"{row.pk}\treader\tward 7" in listed
    assert token not in listed
    assert row.digest not in listed
    assert command("list", "nobody") == ""
    assert command("revoke", str(row.pk)) == "revoked\n"
    assert user_of_token(f"Bearer {token}") is None


@pytest.mark.parametrize(
    "words",
    [
        ("create", "nobody", "t"),
        ("create", "reader", ""),
        ("create", "reader", "t", "--days", "0"),
        ("revoke", "99"),
    ],
)
def test_a_command_that_cannot_be_done_is_a_sentence(reader: User, words: Any) -> None:
    with pytest.raises(CommandError):
        command(*words)


def test_staff_see_and_revoke_tokens_and_no_hash(reader: User) -> None:
    issue(reader, "ward 7")
    row = ApiToken.objects.get()
    staff = Client()
    staff.force_login(get_user_model().objects.create_superuser("staff"))
    for path in ("", f"{row.pk}/change/"):
        page = staff.get(f"/admin/labrelay_door/apitoken/{path}")
        assert page.status_code == 200
        assert row.digest not in page.content.decode()
    assert staff.get("/admin/labrelay_door/apitoken/add/").status_code == 403
    staff.post(f"/admin/labrelay_door/apitoken/{row.pk}/delete/", {"post": "yes"})
    assert not ApiToken.objects.exists()
