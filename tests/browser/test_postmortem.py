"""Two people write a post-mortem at the same time, in Chromium: nobody overwrites anybody."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Portal
from tests.browser.test_story import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def saved(page: Page) -> Locator:
    return page.locator("#summary .saved")


def test_two_people_write_and_a_third_publishes(page: Page, portal: Portal) -> None:
    sign_in(page, "On-Call Engineer")
    page.goto("/incidents/declare/")
    page.get_by_label("What is wrong?").fill("The planner forgets its budget")
    page.get_by_role("button", name="Declare the incident").click()
    page.get_by_role("link", name="Look back on it").click()
    page.get_by_role("button", name="Begin the post-mortem").click()
    mine = page.locator("#summary textarea").first
    for word in ("It ", "**forgot** ", "its ", "budget. "):  # typed with pauses: each save goes on from the one before
        mine.press_sequentially(word, delay=60)
        expect(saved(page)).to_have_text(re.compile(r"^Saved \d\d:\d\d:\d\d"))
    expect(page.locator("#summary .markdown strong")).to_have_text("forgot")
    expect(page.locator("#summary .markdown")).to_contain_text("its budget.")
    expect(page.locator("#summary .notice")).to_have_count(0)

    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(base_url=portal.url)
    other = context.new_page()
    sign_in(other, "Engineer")
    other.goto(page.url)
    other.locator("#summary textarea").first.fill("Mei knows more about it.")
    expect(saved(other)).to_contain_text("Saved")
    expect(other.locator("#summary .markdown")).to_contain_text("Mei knows more")

    mine.press_sequentially("Twice.")
    conflict = page.locator("#summary .notice")
    expect(conflict).to_contain_text("Mei Tanaka saved this section")
    expect(conflict.locator(".gone")).to_contain_text("Mei knows more about it.")
    expect(mine).to_have_value("It **forgot** its budget. Twice.")
    mine.fill("Mei knows more about it. It forgot its budget twice.")
    page.get_by_role("button", name="save your text over theirs").click()
    expect(saved(page)).to_contain_text("Saved")
    page.reload()
    expect(mine).to_have_value("Mei knows more about it. It forgot its budget twice.")

    page.get_by_role("button", name="Submit for review").click()
    expect(page.get_by_role("button", name="Publish")).to_be_disabled()
    other.goto(page.url)
    expect(other.get_by_role("button", name="Publish")).to_have_accessible_description(
        re.compile("nobody publishes their own words", re.IGNORECASE)
    )
    sign_in(other, "Tech Lead")
    other.goto(page.url)
    other.get_by_role("button", name="Publish").click()
    expect(page.locator(".title .state")).to_have_text("Published")  # the author's page moves by itself
    context.close()

    page.goto(page.url.partition("post-mortem")[0])  # no open incident is left for the other stories
    page.get_by_label("Note").fill("It was the planner's test budget.")
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    expect(page.locator(".title .state")).to_have_text("Cancelled")
