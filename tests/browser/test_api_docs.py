"""The API's page in a real browser, under the site's own policy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

#: Written by the API itself: tests/contract.
_DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.json"

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_of_the_api_needs_nothing_but_the_sites_own_files(open_page):
    opened = open_page()
    asked, refused = [], []
    opened.page.on("request", lambda request: asked.append(request.url))
    opened.page.on("console", lambda said: refused.append(said.text) if said.type == "error" else 0)

    with opened.page.expect_response("**/api/v1/docs") as answered:
        page = opened.open("/api/v1/docs")
    policy = answered.value.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy

    paths = json.loads(_DESCRIPTION.read_bytes())["paths"].values()
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths)))
    page.locator("#operations-labs-list_labs .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert all(url.startswith((opened.address, "data:")) for url in asked), asked
    assert refused == []
