from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from incidents import postmortems
from incidents.models import PostMortem, PostMortemSection
from incidents.prose import LONGEST, render

ClientFor = Callable[[User], Client]
HTMX = {"HX-Request": "true"}


def summary(postmortem: PostMortem) -> PostMortemSection:
    return postmortem.sections.get(key="summary")


def url(postmortem: PostMortem) -> str:
    return f"/post-mortem-sections/{summary(postmortem).pk}/write/"


def test_it_works(client_for: ClientFor, postmortem: PostMortem, engineer: User) -> None:
    response = client_for(engineer).post(url(postmortem), {"body": "It **fell** over.", "version": 0}, headers=HTMX)
    shown = response.content.decode()
    assert "Saved" in shown
    assert "It <strong>fell</strong> over." in shown
    assert 'name="version" value="1"' in shown
    after = summary(postmortem)
    assert (after.body, after.version, after.saved_by) == ("It **fell** over.", 1, engineer)
    assert engineer in postmortem.authors.all(), "whoever writes is an author"


def test_without_a_script_it_comes_back_to_the_section(
    client_for: ClientFor, postmortem: PostMortem, engineer: User
) -> None:
    response = client_for(engineer).post(url(postmortem), {"body": "Plain", "version": 0})
    assert response.headers["Location"] == f"/incidents/{postmortem.incident_id}/post-mortem/#summary"
    assert "Plain" in client_for(engineer).get(response.headers["Location"]).content.decode()


def test_two_writers_do_not_overwrite_each_other(
    client_for: ClientFor, postmortem: PostMortem, engineer: User, oncall: User
) -> None:
    client_for(engineer).post(url(postmortem), {"body": "Mei's words", "version": 0}, headers=HTMX)
    second = client_for(oncall).post(url(postmortem), {"body": "Amara's words", "version": 0}, headers=HTMX)
    shown = second.content.decode()
    assert "Mei Tanaka saved this section" in shown
    assert "Mei&#x27;s words" in shown
    assert "Amara&#x27;s words" in shown
    assert 'name="version" value="0"' in shown, "autosave goes on being refused until a person decides"
    assert summary(postmortem).body == "Mei's words"
    over = {"body": "Both their words", "version": 0, "over": 1}
    assert "Saved" in client_for(oncall).post(url(postmortem), over, headers=HTMX).content.decode()
    assert summary(postmortem).body == "Both their words"


def test_two_writers_without_a_script_see_both_texts_too(
    client_for: ClientFor, postmortem: PostMortem, engineer: User, oncall: User
) -> None:
    client_for(engineer).post(url(postmortem), {"body": "First words", "version": 0})
    second = client_for(oncall).post(url(postmortem), {"body": "Second words", "version": 0})
    assert second.status_code == 409
    shown = second.content.decode()
    assert ">Second words</textarea>" in shown
    assert "First words" in shown
    assert summary(postmortem).body == "First words"


def test_saving_the_same_words_again_is_no_conflict(
    client_for: ClientFor, postmortem: PostMortem, oncall: User, engineer: User
) -> None:
    for person in (oncall, engineer):
        client_for(person).post(url(postmortem), {"body": "The same", "version": 0}, headers=HTMX)
    assert summary(postmortem).version == 1
    assert engineer not in postmortem.authors.all(), "who changed nothing is no author"


def test_wrong_method(client_for: ClientFor, postmortem: PostMortem, oncall: User) -> None:
    assert client_for(oncall).get(url(postmortem)).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, postmortem: PostMortem, stranger: User, auditor: User) -> None:
    said = {"body": "Let me", "version": 0}
    assert client.post(url(postmortem), said).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        assert client_for(person).post(url(postmortem), said).status_code == 403
        assert '<textarea id="body-' not in client_for(person).get(postmortem.get_absolute_url()).content.decode()
    assert summary(postmortem).body == ""


def test_wrong_state(client_for: ClientFor, in_review: PostMortem, oncall: User) -> None:
    said = {"body": "Too late", "version": 1}
    shown = client_for(oncall).post(url(in_review), said, headers=HTMX).content.decode()
    assert "its text is not changed now" in shown
    assert "its text is not changed now" in client_for(oncall).post(url(in_review), said, follow=True).content.decode()
    assert summary(in_review).body == "A bad release answered 500."


@pytest.mark.parametrize("version", ["", "-1", "x"])
def test_bad_input(client_for: ClientFor, postmortem: PostMortem, oncall: User, version: str) -> None:
    shown = client_for(oncall).post(url(postmortem), {"body": "x", "version": version}, follow=True).content.decode()
    assert "The text was not saved" in shown
    assert summary(postmortem).body == ""
    assert client_for(oncall).post("/post-mortem-sections/999/write/", {"body": "x", "version": 0}).status_code == 404


def test_huge_text_is_refused_and_said(client_for: ClientFor, postmortem: PostMortem, oncall: User) -> None:
    said = {"body": "x" * (LONGEST + 1), "version": 0}
    assert (
        f"at most {LONGEST} are kept" in client_for(oncall).post(url(postmortem), said, headers=HTMX).content.decode()
    )
    assert summary(postmortem).body == ""


HARMFUL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:x)",
    "![x](https://example.org/seen.png)",
    "<a href='javascript:alert(1)'>x</a>",
    '[x](https://example.org "onmouseover=alert(1)")',
    "`<script>alert(1)</script>`",
    "| <svg onload=alert(1)> |\n|---|\n| x |",
]


@pytest.mark.parametrize("text", HARMFUL)
def test_markdown_that_would_do_harm_is_shown_and_does_none(text: str) -> None:
    html = render(text)
    for tag in ("<script", "<img", "<svg", "<iframe"):
        assert tag not in html
    assert 'href="javascript' not in html.lower()
    assert 'href="data' not in html.lower()
    assert 'href="vbscript' not in html.lower()


def test_script_in_the_text_is_shown_as_typed_on_the_page(
    client_for: ClientFor, in_review: PostMortem, oncall: User, engineer: User
) -> None:
    postmortems.request_changes(in_review.pk, by=engineer, note="More")
    section = summary(in_review)
    postmortems.write(section.pk, by=oncall, body="</textarea><script>alert(1)</script>", version=section.version)
    for path in ("", "print/"):
        shown = client_for(engineer).get(f"{in_review.get_absolute_url()}{path}").content.decode()
        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


def test_markdown_that_is_made_to_be_slow_is_not() -> None:
    for text in ("[" * LONGEST, "*a_" * (LONGEST // 3), "> " * (LONGEST // 2), "|a" * (LONGEST // 2), "`" * LONGEST):
        began = time.process_time()
        render(text)
        assert time.process_time() - began < 3, text[:6]
