"""The README's story, clicked in Chromium: broken, asked for, approved by the right person, back.

With SCREENSHOTS=on it also makes the pictures of README and docs/tutorial.md."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import PROJECT, SOON, WIDE, ZONE, Portal

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SYSTEM = "agents-orchestration-system"
NARROW = {"width": 360, "height": 780}
PICTURES = os.environ.get("SCREENSHOTS") == "on"
IMAGES = PROJECT / "docs" / "images"
IN_THE_DOCS = {"sign-in", "restore-point", "overview", "roll-back", "awaiting-approval", "running", "done", "incident",
               "log"}  # fmt: skip
TICKS = 'python -uc "import time; [print(time.time()) or time.sleep(0.2) for _ in iter(int, 1)]"'  # until it is ended


# --- how a page is looked at ----------------------------------------------------------------------------------------


def picture(page: Page, name: str) -> None:
    """What a reader of the docs sees; the other schemes and widths are only looked at, in a directory of their own."""
    if not PICTURES:
        return
    if name in IN_THE_DOCS:
        page.screenshot(path=IMAGES / f"{name}.png")
    looked = Path(os.environ.get("SCREENSHOTS_ALL", "/tmp/portal-screenshots"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.screenshot(path=looked / f"{name}-{scheme}-{size['width']}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]


def looks_right(page: Page, name: str) -> None:
    """It does not scroll sideways on a telephone, and can be read in both colour schemes."""
    picture(page, name)
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"{page.url} scrolls sideways"
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    papers = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ink, paper = brightness(page.locator("h1"), "color"), brightness(page.locator("body"), "backgroundColor")
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7, f"{page.url} cannot be read in {scheme}"
        papers.append(paper)
    assert papers[0] > 0.8, "paper by day"
    assert papers[1] < 0.05, "and night at night"
    page.emulate_media(color_scheme="light")


def brightness(element: Locator, what: str) -> float:
    """The relative luminance of one of its colours (WCAG)."""
    colour = element.evaluate("(node, what) => getComputedStyle(node)[what]", what)
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def not_loaded_again(page: Page) -> None:
    """From here to `expect_same_page` nothing may load the page again: what changes has to change in place."""
    page.evaluate("window.stillHere = true")


def expect_same_page(page: Page) -> None:
    assert page.evaluate("window.stillHere === true"), "the page was loaded again"


def state(page: Page) -> Locator:
    """The state that the head of a page says."""
    return page.locator(".page-head .title .state").first


# --- what people do -------------------------------------------------------------------------------------------------


def sign_in(page: Page, role: str) -> None:
    page.goto("about:blank")  # a live page that asks once more just now would be given a cookie of its own
    page.context.clear_cookies()
    page.goto("/accounts/login/")
    page.get_by_role("button", name=re.compile(f"^{role}")).click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def back_up(page: Page, reason: str) -> str:
    """The tag of a new restore point, read back and found whole."""
    page.goto(f"/systems/{SYSTEM}/")
    page.get_by_label("Before what?").fill(reason)
    page.get_by_role("button", name="Back up now").click()
    expect(state(page)).to_have_text("Verified")
    return page.get_by_role("heading", level=1).inner_text()


def ask(page: Page, target: str, reason: str) -> str:
    """The address of a new rollback, waiting for its approval."""
    page.goto(f"/systems/{SYSTEM}/roll-back/")
    page.locator("#choices a").filter(has_text=target).first.click()
    page.get_by_label("What is wrong, and why roll back?").fill(reason)
    page.get_by_role("button", name="Ask for the rollback").click()
    expect(state(page)).to_have_text("Awaiting approval")
    return page.url


def change_tests(page: Page, command: str) -> str:
    """Give the sample another test command; the one that it had."""
    page.goto(f"/systems/{SYSTEM}/manifest/")
    text = page.get_by_label("Manifest", exact=True)
    lines = text.input_value().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("test = "))
    before, lines[place] = lines[place], f"test = '{command}'" if not command.startswith("test = ") else command
    text.fill("\n".join(lines))
    page.get_by_role("button", name="Save the manifest").click()
    expect(page.locator(".messages")).to_contain_text("was changed")
    return before


# --- the stories ----------------------------------------------------------------------------------------------------


def test_the_story(page: Page, portal: Portal) -> None:
    page.goto("/accounts/login/")
    looks_right(page, "sign-in")
    sign_in(page, "On-Call Engineer")

    # Back it up.
    page.goto(f"/systems/{SYSTEM}/")
    expect(state(page)).to_have_text("Healthy")
    tag = back_up(page, "Release 1.3.0")
    looks_right(page, "restore-point")

    # Break it; the overview turns by itself.
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing burns")
    not_loaded_again(page)
    other = page.context.new_page()
    other.goto(f"/systems/{SYSTEM}/")
    other.get_by_role("button", name="Deploy a bad release").click()
    expect(other.locator(".messages")).to_contain_text("is deployed")
    other.close()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{SYSTEM} is unhealthy")
    expect(page.locator("#unhealthy")).to_contain_text("500")
    expect_same_page(page)
    looks_right(page, "overview")

    # Declare an incident.
    page.goto(f"/systems/{SYSTEM}/declare/")
    page.get_by_label("What is wrong?").fill("Agents answer 500 since 1.3.0")
    page.get_by_label("Severity").select_option("high")
    page.get_by_label("Scope").select_option("multiple")
    page.get_by_role("button", name="Declare the incident").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Agents answer 500 since 1.3.0")
    incident = page.url

    # Ask for the rollback: the matrix answers while the form is filled in.
    page.goto(f"/systems/{SYSTEM}/roll-back/")
    page.locator("#choices a").filter(has_text=tag).click()
    expect(page.get_by_label("Back to what?")).to_have_value(tag)
    page.get_by_label("Severity").select_option("medium")
    expect(page.locator("#matrix")).to_contain_text("off the matrix")
    page.get_by_label("Severity").select_option("high")
    expect(page.locator("#matrix")).to_contain_text("The row High × Multiple components holds")
    expect(page.get_by_label("What is wrong, and why roll back?")).to_have_value("Agents answer 500 since 1.3.0")
    looks_right(page, "roll-back")
    page.get_by_role("button", name="Ask for the rollback").click()

    # The plan, and why the requester cannot approve it.
    expect(state(page)).to_have_text("Awaiting approval")
    main = page.locator("main")
    for words in ("Release 1.3.0", "humanize", "4.10.0", "agents.planner.model", "Henrik Lindqvist", "+1 202 555"):
        expect(main).to_contain_text(words)
    expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    expect(page.get_by_role("button", name="Approve")).to_have_accessible_description(
        "Why not: you asked for it, and nobody approves their own request"
    )
    looks_right(page, "awaiting-approval")
    said_in_the_readers_time(page)
    address = page.url

    # The tech lead is told, reads, and approves without a mouse.
    sign_in(page, "Tech Lead")
    expect(page.locator("#waiting")).to_contain_text(f"{SYSTEM} to {tag}")
    page.goto(address)
    looks_right(page, "deciding")
    approve_by_keyboard(page)
    expect(page.locator(".messages")).to_contain_text("has your vote")
    not_loaded_again(page)
    expect(page.locator(".step[data-state=running] pre, .step[data-state=done] pre").first).not_to_be_empty()
    if PICTURES:
        expect(page.locator(".step[data-state=running] #output-5")).not_to_be_empty()
    picture(page, "running")
    expect(state(page)).to_have_text("Monitoring", timeout=3 * SOON)
    expect(page.locator(".step[data-state=done]")).to_have_count(9)
    expect(page.locator(".page-head .meta")).to_contain_text("Healthy")
    expect_same_page(page)
    expect(page).to_have_title(re.compile("^Monitoring"))
    page.goto(address)  # without the message
    looks_right(page, "done")

    # The incident has moved with it; the log has the entry, in the guide's format.
    page.goto(incident)
    expect(state(page)).to_have_text("Monitoring")
    expect(main).to_contain_text("is back and verified")
    looks_right(page, "incident")
    page.goto("/log/")
    expect(page.locator("tbody tr").first).to_contain_text(f"{SYSTEM} to {tag}")
    expect(page.locator("tbody tr").first).to_contain_text("Succeeded")
    looks_right(page, "log")
    exported = page.request.get("/log/?format=markdown").text()
    assert re.match(
        r"## Rollback Log\n\n### \d{4}-\d\d-\d\d \d\d:\d\d - Code Rollback\n\n"
        r"- \*\*Trigger\*\*: Agents answer 500 since 1.3.0\n- \*\*Severity\*\*: High\n"
        r"- \*\*Scope\*\*: Multiple components\n"
        r"- \*\*Rollback Time\*\*: [\d.]+ (seconds?|minutes?)\n- \*\*Downtime\*\*: [\d.]+ (seconds?|minutes?)\n"
        r"- \*\*Root Cause\*\*: .+\n- \*\*Prevention\*\*: .+\n",
        exported,
    ), exported

    # The watch is ended early, with a reason.
    page.goto(address)
    if state(page).inner_text() == "Monitoring":
        page.locator("#fold-complete summary").click()
        page.get_by_label("Why can the watch end?").fill("It answers, and so does the shop")
        page.get_by_role("button", name="Complete early", exact=True).click()
    expect(state(page)).to_have_text("Completed")

    for name, path in (("contacts", "/contacts/"), ("systems", "/systems/"), ("system", f"/systems/{SYSTEM}/")):
        page.goto(path)
        looks_right(page, name)
    page.goto("/incidents/")
    looks_right(page, "incidents")


def approve_by_keyboard(page: Page) -> None:
    """Skip to the content, go on with Tab to the note of the approval, write it, and to the button. All can be seen."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    note = page.locator("#note-approve")
    for _ in range(20):
        page.keyboard.press("Tab")
        if note.evaluate("node => node === document.activeElement"):
            break
    expect(note).to_be_focused()
    page.keyboard.type("Go")
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name=f"Approve: roll back 3 commits on {SYSTEM}, about")
    expect(button).to_be_focused()
    assert button.evaluate("node => getComputedStyle(node).outlineStyle") == "solid", "where the focus is can be seen"
    page.keyboard.press("Enter")


def said_in_the_readers_time(page: Page) -> None:
    """The clock of the reader's zone, with UTC on hover."""
    shown = page.locator("ol.timeline time").first
    at = datetime.fromisoformat(shown.get_attribute("datetime") or "")
    expect(shown).to_have_text(f"{at.astimezone(ZoneInfo(ZONE)):%H:%M:%S}")
    expect(shown).to_have_attribute("title", f"{at:%Y-%m-%d %H:%M:%S} UTC")


def test_a_rollback_is_aborted_while_its_tests_run(page: Page, portal: Portal) -> None:
    """Live output, a note that is being typed, and the way back: nothing is switched, and the service never notices."""
    sign_in(page, "Tech Lead")
    page.goto(f"/systems/{SYSTEM}/")
    expect(state(page)).to_have_text("Healthy")
    before = change_tests(page, TICKS)
    sign_in(page, "On-Call Engineer")
    address = ask(page, "Move the reviewer", "To see how it is aborted")

    sign_in(page, "Tech Lead")
    page.goto(address)
    page.get_by_role("button", name=re.compile("^Approve: roll back 1 commit on")).click()
    expect(state(page)).to_have_text("Running")
    not_loaded_again(page)
    output = page.locator("#output-5")
    expect(output).to_have_text(re.compile(r"\d+\.\d+\n\d+\.\d+"))
    expect(page.locator("#step-5")).to_have_attribute("data-state", "running")
    assert lateness(page) < 1.5, "what a step prints is on the page within about a second"

    # What the reader opened, where they scrolled and what they typed stays while the page is renewed around it.
    page.locator("#said-1 summary").click()
    page.locator("#fold-abort summary").click()
    why = page.get_by_label("Why?")
    why.press_sequentially("Enough ")
    for _ in range(3):
        seen = output.inner_text()
        expect(output).not_to_have_text(seen)
        why.press_sequentially("seen ")
    expect(why).to_have_value("Enough seen seen seen ")
    expect(why).to_be_focused()
    expect(page.locator("#said-1")).to_have_attribute("open", "")
    expect_same_page(page)
    page.emulate_media(reduced_motion="reduce")
    turning = "node => getComputedStyle(node, '::before').animationName"
    assert state(page).evaluate(turning) == "none", "nothing turns for who asked for no motion"
    page.emulate_media(reduced_motion="no-preference")
    looks_right(page, "tests-running")

    page.get_by_role("button", name=f"Abort and put everything back: {SYSTEM} as it was found").click()
    expect(state(page)).to_have_text("Reverted")
    expect(page.locator("#standing")).to_contain_text(f"{SYSTEM} is as it was found")
    expect(page.locator("#standing")).to_contain_text("Aborted by Henrik Lindqvist: Enough seen seen seen")
    expect(page.locator("#step-6")).to_have_attribute("data-state", "waiting")
    expect(page.locator("#result-head ~ dl div").first).to_contain_text("0 s")
    expect(page.locator(".page-head .meta")).to_contain_text("Healthy")
    looks_right(page, "reverted")
    change_tests(page, before)


def lateness(page: Page) -> float:
    """Seconds from the moment at which a line was printed (which is what it says) to its being on the page: the median
    over those that come from now on."""
    late = page.evaluate(
        """() => new Promise((resolve) => {
            const pane = document.getElementById("output-5"), late = [];
            const last = () => Number(pane.textContent.trimEnd().split("\\n").at(-1));
            let newest = last();
            new MutationObserver((_, observer) => {
                if (last() <= newest) return;
                newest = last();
                late.push(Date.now() / 1000 - newest);
                if (late.length === 9) { observer.disconnect(); resolve(late); }
            }).observe(pane, {childList: true, subtree: true, characterData: true});
        })"""
    )
    return median(late)


def test_words_that_were_not_sent_are_kept_when_their_place_is_gone(page: Page, portal: Portal) -> None:
    sign_in(page, "On-Call Engineer")
    address = ask(page, "Release 1.0.0", "To see what becomes of words")
    not_loaded_again(page)
    page.locator("#fold-cancel summary").click()
    page.get_by_label("Note (optional)").fill("I had nearly")
    other = page.context.new_page()
    sign_in(other, "Tech Lead")
    other.goto(address)
    other.locator("#fold-reject summary").click()
    other.get_by_label("Why?").fill("Not that far back")
    other.get_by_role("button", name="Reject", exact=True).click()
    expect(state(other)).to_have_text("Rejected")
    other.close()
    expect(page.locator("#outdated")).to_be_visible()
    expect(page.get_by_label("Note (optional)")).to_have_value("I had nearly")
    expect_same_page(page)
    page.get_by_role("link", name="see it as it is now").click()
    expect(state(page)).to_have_text("Rejected")
    expect(page.locator("main")).to_contain_text("Not that far back")


def test_without_javascript_everything_but_the_live_parts_works(page: Page, portal: Portal) -> None:
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(base_url=portal.url, java_script_enabled=False)
    plain = context.new_page()
    sign_in(plain, "Tech Lead")
    for path in ("/", "/systems/", f"/systems/{SYSTEM}/", "/incidents/", "/log/", "/contacts/"):
        answer = plain.goto(path)
        assert answer is not None
        assert answer.status == 200, path
    plain.goto(f"/systems/{SYSTEM}/roll-back/")
    plain.locator("#choices a").filter(has_text="v1.1.0").click()
    expect(plain.get_by_label("Back to what?")).to_have_value("v1.1.0")
    plain.goto("/incidents/declare/")
    plain.get_by_label("What is wrong?").fill("Typed without JavaScript")
    plain.get_by_role("button", name="Declare the incident").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("Typed without JavaScript")
    plain.get_by_label("Note").fill("A false alarm")
    plain.get_by_role("button", name="Cancel: false alarm").click()
    expect(state(plain)).to_have_text("Cancelled")
    context.close()


def test_the_auditor_reads_everything_and_changes_nothing(page: Page, portal: Portal) -> None:
    sign_in(page, "Auditor")
    page.goto("/admin/ledger/ledger/")
    page.locator("#result_list tbody a").first.click()
    expect(page.locator("#content")).to_contain_text("Close")
    expect(page.get_by_role("button", name=re.compile("Save|Delete"))).to_have_count(0)
    page.goto(f"/systems/{SYSTEM}/")
    for name in ("Back up now", "Roll back", "Deploy a bad release"):
        button = page.get_by_role("button", name=name, exact=True)
        expect(button).to_be_disabled()
        expect(button).to_have_accessible_description(re.compile("this needs the role Engineer or above"))
