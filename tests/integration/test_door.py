"""The door: other sites' pages, studies without a grant, log-outs, limits, the audit trail."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import Client
from httpx import MockTransport as Mock

from infra.local.orthanc import OrthancNode
from tests.integration.test_web_api import store
from tests.integration.web_requests import a_run, take_in
from tests.site import reader_of, use_archive
from web import notify
from web.access.audit import Action
from web.access.limits import Kind, allowed
from web.access.models import AuditEntry, StudyGrant
from web.access.tokens import issue
from web.application import labrelay
from web.inference.models import InferenceRequest
from web.live.socket import NOT_LOGGED_IN, TOO_MUCH
from web.live.watch import LOOK_SECONDS, LOOKS_A_SESSION, check_sessions, watch
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable
from web.phases.studies import studies, study_detail

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = "-".join(["0123abcd"] * 5)
PASSWORD = "a long pass phrase"
FOREIGN = [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]


@pytest.fixture(scope="module")
def shared(orthanc: OrthancNode) -> tuple[str, list[str]]:
    """Ids of a study and its series: the one that the reader of most tests sees."""
    return store(orthanc, 4)


@pytest.fixture(scope="module")
def hidden(orthanc: OrthancNode) -> tuple[str, list[str]]:
    return store(orthanc, 4)


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """The hash of production takes a second on a busy machine."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any, shared: tuple[str, list[str]]) -> Client:
    """Logged in, and sees one study."""
    use_archive(settings, orthanc)
    client = Client(raise_request_exception=False)
    user = reader_of(shared[0])
    user.set_password(PASSWORD)
    user.save()
    client.force_login(user)
    return client


def request_of(study_id: str, **columns: Any) -> InferenceRequest:
    return InferenceRequest.objects.create(
        pool="lab",
        model="m",
        study_id=study_id,
        study_uid="1.2",
        inputs=[],
        deadline_s=60,
        **columns,
    )


# ---- another site's pages


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/login/", "/logout/", "/admin/login/", "/"])
def test_a_cross_site_post_to_a_page_is_refused(
    reader: Client, path: str, headers: dict[str, str]
) -> None:
    answer = reader.post(path, {"username": "reader", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "Another site sent this" in answer.content.decode()
    assert reader.get("/").status_code == 200, "still logged in"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_cross_site_call_of_the_api_is_refused_in_json(
    reader: Client, method: str, headers: dict[str, str]
) -> None:
    answer = getattr(reader, method)(
        "/api/v1/requests", "{}", content_type="application/json", headers=headers
    )
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden"
    assert not InferenceRequest.objects.exists()


def test_a_page_of_this_site_may_log_in(reader: Client) -> None:
    stranger = Client(headers={"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"})
    answer = stranger.post("/login/", {"username": "reader", "password": PASSWORD})
    assert answer.status_code == 302
    assert reader.get("/").status_code == 200


# ---- studies that are not granted


def test_a_study_without_a_grant_is_answered_like_one_that_does_not_exist(
    reader: Client, hidden: tuple[str, list[str]]
) -> None:
    study_id, series = hidden
    row = request_of(study_id)
    refused = [
        f"/studies/{study_id}/",
        f"/studies/{study_id}/series/{series[0]}/slices/0.png",
        f"/requests/{row.pk}/overlay.json",
    ]
    absent = [
        f"/studies/{UNKNOWN}/",
        f"/studies/{UNKNOWN}/series/{series[0]}/slices/0.png",
        f"/requests/{uuid4()}/overlay.json",
    ]
    for path, other in zip(refused, absent, strict=True):
        answer, expected = reader.get(path), reader.get(other)
        assert answer.status_code == expected.status_code == 404
        assert told(answer) == told(expected)


def told(answer: Any) -> str:
    """What an answer says, without what differs by itself: the form's token, the id asked for."""
    if answer.headers["Content-Type"].startswith("application/json"):
        return str(answer.json()["error"]["message"])
    text: str = answer.content.decode()
    return "\n".join(line for line in text.splitlines() if "csrfmiddlewaretoken" not in line)


def test_what_is_granted_is_there(reader: Client, shared: tuple[str, list[str]]) -> None:
    study_id, series = shared
    assert reader.get(f"/studies/{study_id}/").status_code == 200
    assert reader.get(f"/studies/{study_id}/series/{series[0]}/slices/0.png").status_code == 200


@pytest.mark.parametrize("window", ["hidden", "shared"])
def test_a_series_of_another_study_gives_neither_slices_nor_a_window(
    reader: Client,
    shared: tuple[str, list[str]],
    hidden: tuple[str, list[str]],
    window: str,
) -> None:
    mine, other = shared[1][0], hidden[1][0]
    series, asked = (mine, other) if window == "hidden" else (other, mine)
    path = f"/studies/{shared[0]}/series/{series}/slices/0.png?window={asked}"
    assert reader.get(path).status_code == 404


def test_the_list_holds_what_is_granted_and_nothing_else(
    reader: Client, shared: tuple[str, list[str]], hidden: tuple[str, list[str]]
) -> None:
    page = reader.get("/").content.decode()
    assert shared[0] in page
    assert hidden[0] not in page


def test_a_granted_study_is_listed_however_many_newer_ones_there_are(
    reader: Client, orthanc: OrthancNode, shared: tuple[str, list[str]]
) -> None:
    assert reader
    for _ in range(3):
        store(orthanc, 1)
    assert [s.study_id for s in studies(1, only={shared[0], UNKNOWN})] == [shared[0]]


def test_a_reader_without_any_grant_is_told_so(orthanc: OrthancNode, settings: Any) -> None:
    use_archive(settings, orthanc)
    client = Client()
    client.force_login(User.objects.create_user("new"))
    page = client.get("/", headers={"Accept-Language": "ko"})
    assert page.status_code == 200
    assert "열람이 허용된 검사가 없습니다" in page.content.decode()


def test_a_grant_for_every_study_and_a_superuser_see_all(
    orthanc: OrthancNode, settings: Any, hidden: tuple[str, list[str]]
) -> None:
    use_archive(settings, orthanc)
    for user in (reader_of(), User.objects.create_superuser("root")):
        client = Client()
        client.force_login(user)
        assert client.get(f"/studies/{hidden[0]}/").status_code == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_archive_that_sends_elsewhere_is_not_followed(status: int) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status, headers={"Location": "http://evil.example/"})

    with pytest.raises(ArchiveUnavailable):
        study_detail(UNKNOWN, orthanc=Orthanc("http://a.invalid", "u", "p", transport=Mock(answer)))
    assert asked == [f"http://a.invalid/studies/{UNKNOWN}"]


# ---- sockets


class Page(ApplicationCommunicator):
    """A browser's end of a socket, through everything that stands before it."""

    def __init__(self, headers: dict[str, str]) -> None:
        scope = {
            "type": "websocket",
            "path": "/ws/live/",
            "query_string": b"",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
        super().__init__(labrelay(_no_http), scope)

    async def handshake(self) -> str:
        await self.send_input({"type": "websocket.connect"})
        kind: str = (await self.receive_output(timeout=5))["type"]
        return kind

    async def follow(self, *request_ids: object, **more: Any) -> None:
        wish = {"type": "follow", "request_ids": [str(one) for one in request_ids], **more}
        await self.send_input({"type": "websocket.receive", "text": json.dumps(wish)})

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                output = await self.receive_output(timeout=10)
                message: dict[str, Any] = json.loads(output.get("text") or "{}")
                if message.get("type") == kind:
                    return message

    async def closed(self) -> int:
        async with asyncio.timeout(5):
            while True:
                output = await self.receive_output(timeout=10)
                if output["type"] == "websocket.close":
                    code: int = output["code"]
                    return code

    async def silent(self) -> bool:
        return await self.receive_nothing(timeout=0.3)


async def _no_http(*_: Any) -> None:
    raise AssertionError("no call over HTTP is made here")


OWN = {"Host": "testserver", "Origin": "http://testserver"}


def cookies(client: Client) -> dict[str, str]:
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}


@asynccontextmanager
async def open_socket(client: Client) -> AsyncIterator[Page]:
    page = Page(OWN | cookies(client))
    assert await page.handshake() == "websocket.accept"
    try:
        yield page
    finally:
        await page.send_input({"type": "websocket.disconnect", "code": 1000})
        await page.wait(timeout=3)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example", "Origin": "https://evil.example"},
    ],
    ids=str,
)
async def test_a_socket_of_another_site_is_refused_before_it_opens(
    reader: Client, changed: dict[str, str]
) -> None:
    headers = OWN | cookies(reader) | changed
    page = Page({name: value for name, value in headers.items() if value})
    assert await page.handshake() == "websocket.close"
    await page.wait(timeout=3)


@pytest.mark.asyncio
async def test_a_trusted_origin_may_post_and_opens_no_socket(reader: Client, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.friend.example"]
    friend = {"Origin": "https://login.friend.example"}
    posted = await sync_to_async(reader.post)("/api/v1/requests", headers=friend)
    assert posted.status_code != 403
    page = Page(OWN | cookies(reader) | friend)
    assert await page.handshake() == "websocket.close"
    await page.wait(timeout=3)


@pytest.mark.asyncio
@pytest.mark.parametrize("believed", [True, False])
async def test_a_socket_behind_a_proxy_is_held_to_the_host_that_django_believes(
    reader: Client, settings: Any, believed: bool
) -> None:
    settings.USE_X_FORWARDED_HOST = believed
    settings.ALLOWED_HOSTS = ["mri.example"]
    outside = {"X-Forwarded-Host": "mri.example", "Origin": "https://mri.example"}
    page = Page(OWN | cookies(reader) | outside)
    assert await page.handshake() == ("websocket.accept" if believed else "websocket.close")
    await page.send_input({"type": "websocket.disconnect", "code": 1000})
    await page.wait(timeout=3)


@pytest.mark.asyncio
async def test_a_request_of_a_study_without_a_grant_is_never_told(
    reader: Client, shared: tuple[str, list[str]], hidden: tuple[str, list[str]]
) -> None:
    mine = await sync_to_async(request_of)(shared[0])
    other = await sync_to_async(request_of)(hidden[0])
    for wish in ({"worklist": False}, {"worklist": True}):
        async with open_socket(reader) as page:
            await page.follow(mine.pk, other.pk, **wish)
            snapshot = await page.hear("snapshot")
            assert [one["request_id"] for one in snapshot["requests"]] == [str(mine.pk)]
            await page.hear("lab")
            await raised(other)
            assert await page.silent()
            await raised(mine)
            assert (await page.hear("event"))["request"]["request_id"] == str(mine.pk)


async def raised(row: InferenceRequest) -> None:
    """A change as the listener makes it."""
    row.version += 1
    await row.asave()
    await notify.requests_changed([row.pk])


@pytest.mark.asyncio
async def test_after_a_grant_is_withdrawn_nothing_more_is_told(
    reader: Client, shared: tuple[str, list[str]]
) -> None:
    row = await sync_to_async(request_of)(shared[0])
    async with open_socket(reader) as page:
        await page.follow(row.pk, worklist=True)
        await page.hear("lab")
        await StudyGrant.objects.all().adelete()
        await check_sessions()
        await raised(row)
        assert await page.silent()


@pytest.mark.asyncio
async def test_a_log_out_closes_the_sockets_of_that_session_at_once(reader: Client) -> None:
    elsewhere = Client()
    await sync_to_async(elsewhere.force_login)(await User.objects.aget(username="reader"))
    async with open_socket(reader) as page, open_socket(elsewhere) as other:
        await sync_to_async(reader.post)("/logout/")
        assert await page.closed() == NOT_LOGGED_IN
        assert await other.silent()


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["row deleted", "password changed", "deactivated"])
async def test_a_revoked_session_loses_its_socket_at_the_next_check(
    reader: Client, how: str
) -> None:
    async with open_socket(reader) as page:
        await sync_to_async(revoke)(reader, how)
        await check_sessions()
        assert await page.closed() == NOT_LOGGED_IN


@pytest.mark.asyncio
async def test_a_revoked_session_is_noticed_without_being_asked(reader: Client) -> None:
    # What `watch` is started with: a minute is what was promised.
    assert LOOK_SECONDS * LOOKS_A_SESSION <= 60
    watching = asyncio.create_task(watch(every=0.01))
    try:
        async with open_socket(reader) as page:
            await sync_to_async(revoke)(reader, "row deleted")
            assert await page.closed() == NOT_LOGGED_IN
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def revoke(client: Client, how: str) -> None:
    user = User.objects.get(username="reader")
    if how == "row deleted":
        client.session.delete()
    elif how == "password changed":
        user.set_password("another pass phrase")
        user.save()
    else:
        User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.asyncio
async def test_a_page_that_says_too_much_is_sent_away(reader: Client) -> None:
    async with open_socket(reader) as page:
        for _ in range(121):
            await page.send_input({"type": "websocket.receive", "text": "{}"})
        assert await page.closed() == TOO_MUCH


@pytest.mark.asyncio
async def test_a_reader_who_opens_too_many_sockets_is_sent_away(reader: Client) -> None:
    user = await User.objects.aget(username="reader")
    while allowed(Kind.SOCKET, f"user {user.pk}") is None:
        pass
    async with open_socket(reader) as page:
        assert await page.closed() == TOO_MUCH


@pytest.mark.asyncio
async def test_a_stranger_who_opens_too_many_sockets_opens_none() -> None:
    stranger = Page(OWN)
    assert await stranger.handshake() == "websocket.accept"
    assert await stranger.closed() == NOT_LOGGED_IN
    while allowed(Kind.SOCKET, "address unknown") is None:
        pass
    again = Page(OWN)
    assert await again.handshake() == "websocket.close"
    for page in (stranger, again):
        await page.send_input({"type": "websocket.disconnect", "code": 1000})
        await page.wait(timeout=3)


# ---- limits


def log_in(client: Client, name: str, address: str, *, wrong: bool = True) -> Any:
    form = {"username": name, "password": "wrong" if wrong else PASSWORD}
    return client.post("/login/", form, REMOTE_ADDR=address)


def test_passwords_cannot_be_guessed_for_one_name_from_many_addresses(reader: Client) -> None:
    assert reader
    stranger = Client()
    for number in range(20):
        assert log_in(stranger, "reader", f"192.0.2.{number}").status_code == 200
    answer = log_in(stranger, " READER", "192.0.2.99", wrong=False)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60
    assert "Please try again in" in answer.content.decode()
    assert log_in(stranger, "somebody else", "192.0.2.99").status_code == 200


def test_passwords_cannot_be_guessed_for_many_names_from_one_address() -> None:
    stranger = Client()
    for number in range(50):
        assert log_in(stranger, f"name{number}", "2001:db8::1").status_code == 200
    # Another address of the same host's network.
    assert log_in(stranger, "next", "2001:db8::2").status_code == 429
    assert stranger.get("/login/").status_code == 200
    assert log_in(stranger, "next", "2001:db8:1::1").status_code == 200


def test_a_script_that_posts_without_end_is_told_when_to_come_again(reader: Client) -> None:
    user = User.objects.get(username="reader")
    while allowed(Kind.CHANGE, f"user {user.pk}") is None:
        pass
    answer = reader.post("/api/v1/requests", "{}", content_type="application/json")
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "too_many_requests"
    assert int(answer.headers["Retry-After"]) > 0
    assert reader.get("/").status_code == 200


def test_a_viewer_that_asks_without_end_is_told_so_in_json(reader: Client) -> None:
    user = User.objects.get(username="reader")
    while allowed(Kind.READ, f"user {user.pk}") is None:
        pass
    answer = reader.get("/dicom-web/studies/1.2.3/series")
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "too_many_requests"


def test_all_slices_of_a_study_at_once_are_no_reason_to_refuse() -> None:
    for _ in range(5 * 4 * 134):
        assert allowed(Kind.READ, "user 1") is None


# ---- headers


def test_every_page_carries_the_strict_headers(
    reader: Client, shared: tuple[str, list[str]]
) -> None:
    answers = [Client().get("/login/"), reader.get(f"/studies/{shared[0]}/"), reader.get("/none/")]
    errors = [
        reader.get("/api/nothing/"),
        reader.delete("/api/v1/studies"),
        Client().get("/api/v1/studies"),
        Client(headers={"Host": "evil.example"}).get("/api/v1/studies"),
    ]
    assert [answer.status_code for answer in errors] == [404, 405, 401, 400]
    for answer in errors:
        assert answer.json()["error"]["message"]
        # Set before Django comes to the middleware of this one.
        answer.headers.setdefault("X-Frame-Options", "DENY")
    for answer in answers + errors:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in answer.headers["Permissions-Policy"]
        assert "no-store" in answer.headers["Cache-Control"]


def test_an_error_that_became_json_keeps_what_stood_on_it(reader: Client, settings: Any) -> None:
    settings.SECURE_HSTS_SECONDS = 60
    settings.MIDDLEWARE = [
        settings.MIDDLEWARE[0],
        f"{__name__}.with_a_cookie",
        *settings.MIDDLEWARE[1:],
    ]
    answer = reader.get("/api/nothing/", secure=True)
    assert answer.status_code == 404
    assert answer.headers["Strict-Transport-Security"] == "max-age=60"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.cookies["theirs"].value == "1"
    assert "Allow" in reader.delete("/api/v1/studies").headers


def with_a_cookie(get_response: Any) -> Any:
    def answer(request: Any) -> Any:
        response = get_response(request)
        response.set_cookie("theirs", "1")
        return response

    return answer


def test_no_cache_keeps_an_answer_of_the_api_whatever_middleware_a_host_has(
    reader: Client, settings: Any, shared: tuple[str, list[str]]
) -> None:
    settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "strict_headers" not in one]
    assert "Cache-Control" not in reader.get("/api/nothing/").headers
    for path in (f"studies/{shared[0]}", "studies", f"studies/{UNKNOWN}", "studies?limit=x"):
        answer = reader.get(f"/api/v1/{path}")
        assert answer.headers["Cache-Control"] == "private, no-store", path


def test_the_checks_for_production_find_nothing(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - the child needs it
        "DJANGO_SETTINGS_MODULE": "web.settings",
        "HTTPS_ONLY": "true",
        "SECRET_KEY": uuid4().hex + uuid4().hex,
        "ALLOWED_HOSTS": "mri.example",
        "VAR_DIR": str(tmp_path),
    }
    program = (
        "import django; django.setup(); from django.conf import settings as s; "
        "from django.core.checks import run_checks; "
        # What `check --deploy` runs, before it looks at broker and archive.
        "print([str(m) for m in run_checks(include_deployment_checks=True)]); "
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, "
        "s.SECURE_HSTS_SECONDS > 0, s.SECURE_SSL_REDIRECT)"
    )
    done = subprocess.run(
        (sys.executable, "-c", program),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "True True True True True"]


# ---- the audit trail


def trail() -> list[tuple[str, bool, str]]:
    rows = AuditEntry.objects.order_by("pk").values_list("action", "user", "study_id")
    return [(action, user is not None, study_id) for action, user, study_id in rows]


def test_who_came_and_what_they_opened_is_written_down(
    orthanc: OrthancNode,
    settings: Any,
    shared: tuple[str, list[str]],
    hidden: tuple[str, list[str]],
) -> None:
    use_archive(settings, orthanc)
    user = reader_of(shared[0])
    user.set_password(PASSWORD)
    user.save()
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.post("/login/", {"username": "reader", "password": "wrong"})
    client.post("/login/", {"username": "reader", "password": PASSWORD})
    client.get(f"/studies/{shared[0]}/")
    for index in (0, 1, 0):
        path = f"/studies/{shared[0]}/series/{shared[1][0]}/slices/{index}.png"
        assert client.get(path).status_code == 200
    client.get(f"/studies/{hidden[0]}/")
    client.get(f"/requests/{request_of(hidden[0]).pk}/overlay.json")
    client.post("/logout/")

    assert trail() == [
        (Action.LOGIN_FAILED, False, ""),
        (Action.LOGGED_IN, True, ""),
        # The page and its images are one look.
        (Action.STUDY_VIEWED, True, shared[0]),
        (Action.REFUSED, True, hidden[0]),
        (Action.REFUSED, True, hidden[0]),
        (Action.LOGGED_OUT, True, ""),
    ]
    assert set(AuditEntry.objects.values_list("address", flat=True)) == {"192.0.2.7"}


def viewed(row: InferenceRequest) -> int:
    """How often the trail says that the result was viewed."""
    of_row = {"study_id": row.study_id, "subject": str(row.pk)}
    return AuditEntry.objects.filter(action=Action.RESULT_VIEWED, **of_row).count()


def with_result(study_id: str) -> InferenceRequest:
    row = request_of(study_id)
    for event in a_run(row.pk):
        with transaction.atomic():
            take_in(event)
    return row


@pytest.mark.parametrize(
    "path",
    [
        "/studies/{study}/",
        "/api/v1/requests",
        "/api/v1/requests/{request}",
        "/api/v1/requests/{request}/result",
        "/api/mri/segmentation/status/{request}/",
    ],
)
def test_every_way_to_a_result_is_written_down_once_an_hour(
    reader: Client, shared: tuple[str, list[str]], path: str
) -> None:
    row, other = with_result(shared[0]), request_of(shared[0])
    if path.startswith("/studies"):
        other.delete()
    for _ in range(3):
        answer = reader.get(path.format(study=shared[0], request=row.pk))
        assert answer.status_code == 200, answer.content
    assert viewed(row) == 1
    assert viewed(other) == 0, "it has no result"
    # The same session from elsewhere may be somebody else.
    reader.get(path.format(study=shared[0], request=row.pk), REMOTE_ADDR="192.0.2.8")
    assert viewed(row) == 2


@pytest.mark.parametrize("path", ["/", "/api/v1/studies"])
def test_a_list_of_studies_which_names_patients_is_written_down(reader: Client, path: str) -> None:
    for _ in range(3):
        assert reader.get(path).status_code == 200
    assert AuditEntry.objects.filter(action=Action.STUDIES_LISTED).count() == 1


@pytest.mark.asyncio
async def test_a_result_that_a_socket_tells_is_written_down(
    reader: Client, shared: tuple[str, list[str]]
) -> None:
    row = await sync_to_async(request_of)(shared[0])
    async with open_socket(reader) as page:
        await page.follow(row.pk)
        await page.hear("snapshot")
        assert await sync_to_async(viewed)(row) == 0
        for event in a_run(row.pk):
            await sync_to_async(transaction.atomic(take_in))(event)
        await notify.requests_changed([row.pk])
        assert (await page.hear("event"))["request"]["result"]
        assert await sync_to_async(viewed)(row) == 1
    later = await sync_to_async(with_result)(shared[0])
    async with open_socket(reader) as page:
        await page.follow(worklist=True)
        assert len((await page.hear("snapshot"))["requests"]) == 2
    assert await sync_to_async(viewed)(later) == 1
    assert await sync_to_async(viewed)(row) == 1


def test_a_look_that_could_not_be_written_down_is_no_look(
    reader: Client, shared: tuple[str, list[str]]
) -> None:
    path = f"/studies/{shared[0]}/series/{shared[1][0]}/slices/0.png"
    trigger = (
        "CREATE TRIGGER full BEFORE INSERT ON labrelay_door_auditentry "
        "BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with connection.cursor() as cursor:
        cursor.execute(trigger)
    try:
        assert reader.get(path).status_code == 500
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER full")
    assert reader.get(path).status_code == 200
    assert AuditEntry.objects.filter(action=Action.STUDY_VIEWED).count() == 1


def test_the_trail_knows_who_it_was_after_the_user_is_deleted(
    reader: Client, shared: tuple[str, list[str]]
) -> None:
    reader.get(f"/studies/{shared[0]}/")
    user = User.objects.get(username="reader")
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff"))
    gone = staff.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
    assert gone.status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()

    entry = AuditEntry.objects.get(action=Action.STUDY_VIEWED)
    assert entry.user_id == user.pk
    trail = "/admin/labrelay_door/auditentry/"
    cell = f'<td class="field-who">{user.pk}</td>'
    assert cell in staff.get(trail).content.decode()
    assert cell in staff.get(trail, {"q": str(user.pk)}).content.decode()
    assert "field-who" not in staff.get(trail, {"q": "99999"}).content.decode()
    page = staff.get(f"{trail}{entry.pk}/change/")
    assert f'<div class="readonly">{user.pk}</div>' in page.content.decode()


@pytest.mark.parametrize("table", ["auditentry", "apitoken"])
def test_staff_search_by_what_users_log_in_with(
    reader: Client, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    user = User.objects.get(username="reader")
    user.email = "reader@mri.example"
    user.save()
    issue(user, "ward 7")
    reader.get("/")
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff"))
    # As a host's own users may have it, who need not have a user name.
    monkeypatch.setattr(User, "USERNAME_FIELD", "email")
    for wanted, found in ((user.email, True), ("nobody@mri.example", False)):
        page = staff.get(f"/admin/labrelay_door/{table}/", {"q": wanted})
        assert page.status_code == 200
        assert ('id="result_list"' in page.content.decode()) is found


def test_a_script_that_tries_ids_does_not_fill_the_trail(reader: Client) -> None:
    for number in range(65):
        assert reader.get(f"/studies/{'-'.join([f'{number:08x}'] * 5)}/").status_code == 404
    assert AuditEntry.objects.filter(action=Action.REFUSED).count() == 60


def test_staff_give_grants_and_read_the_trail_and_cannot_change_it(
    hidden: tuple[str, list[str]],
) -> None:
    staff = Client()
    staff.force_login(User.objects.create_superuser("staff"))
    group = Group.objects.create(name="oncology")
    form = {"group": group.pk, "study_id": hidden[0]}
    assert staff.post("/admin/labrelay_door/studygrant/add/", form).status_code == 302
    assert StudyGrant.objects.get().study_id == hidden[0]
    form["study_id"] = "../../system"
    assert staff.post("/admin/labrelay_door/studygrant/add/", form).status_code == 200
    assert StudyGrant.objects.count() == 1

    entry = AuditEntry.objects.get()
    assert staff.get("/admin/labrelay_door/auditentry/").status_code == 200
    assert staff.get(f"/admin/labrelay_door/auditentry/{entry.pk}/change/").status_code == 200
    assert staff.get("/admin/labrelay_door/auditentry/add/").status_code == 403
    assert staff.post(f"/admin/labrelay_door/auditentry/{entry.pk}/delete/").status_code == 403
