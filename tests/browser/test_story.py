"""The README's story, clicked in Chromium: broken, asked for, approved by the right person, back.

With SCREENSHOTS=on it also makes the pictures of README and docs/tutorial.md."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PROJECT, Portal

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

IMAGES = PROJECT / "docs" / "images"
SYSTEM = "agents-orchestration-system"
SOON = 20_000  # milliseconds


def picture(page: Page, name: str) -> None:
    """Wide and light for the docs; dark and narrow are only looked at, in the run's own directory."""
    if os.environ.get("SCREENSHOTS") != "on":
        return
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
    looked = Path(os.environ.get("SCREENSHOTS_ALL", "/tmp/portal-screenshots"))
    looked.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=looked / f"{name}-{scheme}-{width}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def fits(page: Page) -> None:
    """No page scrolls sideways on a telephone."""
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, page.url
    page.set_viewport_size({"width": 1280, "height": 900})


def sign_in(page: Page, role: str) -> None:
    page.context.clear_cookies()
    page.goto("/accounts/login/")
    picture(page, "sign-in")
    page.get_by_role("button", name=re.compile(f"^{role}")).click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_the_story(page: Page, portal: Portal) -> None:
    sign_in(page, "On-Call Engineer")

    # Back it up.
    page.goto(f"/systems/{SYSTEM}/")
    expect(page.locator(".page-head")).to_contain_text("Healthy", timeout=SOON)
    page.get_by_label("Before what?").fill("Release 1.3.0")
    page.get_by_role("button", name="Back up now").click()
    expect(page.locator("main")).to_contain_text("Verified", timeout=SOON)
    picture(page, "restore-point")
    fits(page)

    # Break it; the overview turns by itself within 5 seconds.
    page.goto(f"/systems/{SYSTEM}/")
    page.get_by_role("button", name="Deploy a bad release").click()
    page.goto("/")
    expect(page.locator("main")).to_contain_text("Unhealthy", timeout=5_000)
    picture(page, "overview")
    fits(page)

    # Declare an incident.
    page.goto(f"/systems/{SYSTEM}/declare/")
    page.get_by_label("What is wrong?").fill("Agents answer 500 since 1.3.0")
    page.get_by_label("Severity").select_option("high")
    page.get_by_label("Scope").select_option("multiple")
    page.locator("main form button").last.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Agents answer 500")

    # Ask for the rollback: the matrix answers while the form is filled in.
    page.goto(f"/systems/{SYSTEM}/")
    tag = page.locator("#points ~ * a, section a").filter(has_text="backup-").first.inner_text()
    page.goto(f"/systems/{SYSTEM}/roll-back/?to={tag}")
    page.get_by_label("Severity").select_option("medium")
    expect(page.locator("#matrix")).to_contain_text("off the matrix")
    page.get_by_label("Severity").select_option("high")
    expect(page.locator("#matrix")).to_contain_text("one Tech Lead")
    picture(page, "roll-back")
    fits(page)
    page.get_by_role("button", name="Ask for the rollback").click()

    # The plan, and why the requester cannot approve it.
    expect(page.locator(".page-head")).to_contain_text("Awaiting approval", timeout=SOON)
    main = page.locator("main")
    for words in ("Release 1.3.0", "humanize", "4.10.0", "agents.planner.model", "Henrik Lindqvist", "+1 202 555"):
        expect(main).to_contain_text(words)
    expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    expect(main).to_contain_text("nobody approves their own request")
    picture(page, "awaiting-approval")
    fits(page)
    address = page.url

    # The tech lead approves, and watches.
    sign_in(page, "Tech Lead")
    expect(main).to_contain_text(re.compile("Rollback \\d+|waits", re.IGNORECASE))
    page.goto(address)
    page.get_by_role("button", name=re.compile("^Approve: roll back 3 commits")).click()
    expect(page.locator(".page-head")).to_contain_text("Running", timeout=SOON)
    picture(page, "running")
    expect(page.locator(".page-head")).to_contain_text("Monitoring", timeout=60_000)
    expect(page.locator(".steps .step")).to_have_count(9)
    picture(page, "done")
    fits(page)

    # The incident has moved with it; the log has the entry, in the guide's format.
    page.goto("/incidents/")
    picture(page, "incidents")
    fits(page)
    page.get_by_role("link", name="Agents answer 500").first.click()
    expect(main).to_contain_text("Monitoring")
    expect(main).to_contain_text("is back and verified")
    picture(page, "incident")
    fits(page)
    page.goto("/log/")
    expect(main).to_contain_text("Code Rollback")
    picture(page, "log")
    fits(page)
    exported = page.request.get("/log/?format=markdown").text()
    assert re.fullmatch(
        r"## Rollback Log\n\n### \d{4}-\d\d-\d\d \d\d:\d\d - Code Rollback\n\n"
        r"- \*\*Trigger\*\*: .+\n- \*\*Severity\*\*: High\n- \*\*Scope\*\*: Multiple components\n"
        r"- \*\*Rollback Time\*\*: [\d.]+ seconds?\n- \*\*Downtime\*\*: [\d.]+ seconds?\n"
        r"- \*\*Root Cause\*\*: .+\n- \*\*Prevention\*\*: .+\n",
        exported,
    ), exported

    for name, path in (("contacts", "/contacts/"), ("systems", "/systems/"), ("system", f"/systems/{SYSTEM}/")):
        page.goto(path)
        picture(page, name)
        fits(page)


def test_without_javascript_everything_but_the_live_parts_works(page: Page, portal: Portal) -> None:
    browser = page.context.browser
    assert browser is not None
    plain = browser.new_context(base_url=portal.url, java_script_enabled=False).new_page()
    sign_in(plain, "Tech Lead")
    for path in ("/", "/systems/", f"/systems/{SYSTEM}/", "/incidents/", "/log/", "/contacts/"):
        answer = plain.goto(path)
        assert answer is not None
        assert answer.status == 200, path
    plain.goto("/incidents/declare/")
    plain.get_by_label("What is wrong?").fill("Typed without JavaScript")
    plain.locator("main form button").last.click()
    expect(plain.get_by_role("heading", level=1)).to_contain_text("Typed without JavaScript")
    plain.context.close()


def test_the_auditor_reads_everything_and_changes_nothing(page: Page, portal: Portal) -> None:
    sign_in(page, "Auditor")
    page.goto("/admin/ledger/ledger/")
    expect(page.locator("#result_list")).to_contain_text("seed")
    page.goto(f"/systems/{SYSTEM}/")
    expect(page.get_by_role("button", name="Back up now")).to_be_disabled()
