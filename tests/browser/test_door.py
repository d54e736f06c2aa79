"""The pages under their content security policy, in a real browser: nothing of them is blocked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenPage, StoredStudy

pytestmark = pytest.mark.django_db(transaction=True)

#: Notes what the policy blocks, from the first line of a page on.
NOTE_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`));
"""


def test_nothing_of_the_pages_is_blocked(
    open_page: Callable[..., OpenPage], study: StoredStudy
) -> None:
    opened = open_page()
    opened.page.add_init_script(NOTE_VIOLATIONS)
    complaints: list[str] = []
    opened.page.on("console", lambda line: complaints.append(line.text))

    page = opened.open("/")
    expect(page.locator("#labs")).not_to_be_empty()
    assert page.evaluate("violations") == []

    page = opened.open(f"/studies/{study.study_id}/")
    expect(page.locator("#phases button").first).to_be_visible()
    page.wait_for_function("document.getElementById('slice-image').naturalWidth > 0")
    assert page.evaluate("violations") == []
    assert [text for text in complaints if "Content Security Policy" in text] == []


def test_a_page_may_open_a_socket_to_this_site_and_to_no_other(
    open_page: Callable[..., OpenPage],
) -> None:
    opened = open_page()
    opened.page.add_init_script(NOTE_VIOLATIONS)
    page = opened.open("/")
    # Not the live one, which the fixture answers in the site's place.
    page.evaluate("new WebSocket(location.origin.replace('http', 'ws') + '/ws/none/')")
    page.evaluate("try { new WebSocket('ws://evil.example/') } catch {}")
    page.wait_for_function("violations.length > 0")
    assert page.evaluate("violations") == ["connect-src ws://evil.example/"]


def test_a_script_written_into_a_page_does_not_run(
    open_page: Callable[..., OpenPage], study: StoredStudy
) -> None:
    opened = open_page()
    opened.page.add_init_script(NOTE_VIOLATIONS)
    page = opened.open(f"/studies/{study.study_id}/")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert page.evaluate("violations") == ["script-src-elem inline"]


def test_the_pages_for_staff_and_the_log_in_work_under_the_policy(
    chromium: Browser, live_server: Any, settings: Any
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    get_user_model().objects.create_superuser("staff", password="a long pass phrase")
    context = chromium.new_context(locale="en-US")
    page = context.new_page()
    page.add_init_script(NOTE_VIOLATIONS)
    page.goto(f"{live_server.url}/login/?next=/admin/")
    page.get_by_label("User name").fill("staff")
    page.get_by_label("Password").fill("a long pass phrase")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Study grants")).to_be_visible()
    for path in ("labrelay_door/studygrant/add/", "labrelay_door/auditentry/", "auth/group/add/"):
        page.goto(f"{live_server.url}/admin/{path}")
        expect(page.locator("#content h1")).to_be_visible()
        assert page.evaluate("violations") == []
    page.goto(f"{live_server.url}/api/v1/docs")
    page.locator(".opblock-summary-post").first.click()
    expect(page.locator(".opblock-body").first).to_be_visible()
    assert page.evaluate("violations") == []
    context.close()


def test_another_sites_form_logs_nobody_in_or_out(
    chromium: Browser, live_server: Any, client: Any
) -> None:
    client.force_login(get_user_model().objects.create_user("reader"))
    context = chromium.new_context()
    session = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page = context.new_page()
    # The same machine by another name: to the browser another site.
    foreign = live_server.url.replace("localhost", "127.0.0.1")
    assert foreign != live_server.url
    form = f'<form method="post" action="{live_server.url}/logout/"></form>'
    page.route(f"{foreign}/trap", lambda route: route.fulfill(body=form, content_type="text/html"))
    page.goto(f"{foreign}/trap")
    with page.expect_response(f"{live_server.url}/logout/") as answer:
        page.evaluate("document.forms[0].submit()")
    assert answer.value.status == 403
    context.close()
    assert client.get("/admin/login/").wsgi_request.user.is_authenticated
