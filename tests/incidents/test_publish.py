"""From draft to published: submit, request changes, publish, amend, and the comments on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import Client

from incidents import action_items, postmortems
from incidents.models import Comment, Incident, PostMortem, Revision
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
VERBS = ["submit", "request-changes", "publish", "amend", "begin", "address"]


def url(postmortem: PostMortem, verb: str) -> str:
    return f"/incidents/{postmortem.incident_id}/post-mortem/{verb}/"


def now(postmortem: PostMortem) -> PostMortem:
    return PostMortem.objects.get(pk=postmortem.pk)


def test_begin_makes_the_sections_and_a_second_one_comes_to_the_same(
    client_for: ClientFor, incident_in: Callable[[str], Incident], oncall: User, engineer: User
) -> None:
    incident = incident_in("mitigating")
    page = f"/incidents/{incident.pk}/post-mortem/"
    assert "Nobody has begun it yet" in client_for(oncall).get(page).content.decode()
    for person in (oncall, engineer):
        assert client_for(person).post(f"{page}begin/").headers["Location"] == page
    made = PostMortem.objects.get()
    assert [section.key for section in made.sections.all()] == [key for key, _, _ in postmortems.SECTIONS]
    assert list(made.authors.all()) == [oncall]
    shown = client_for(engineer).get(page).content.decode()
    assert "What had to come together?" in shown
    assert 'hx-trigger="input delay:700ms, submit"' in shown


def test_a_false_alarm_has_none(client_for: ClientFor, incident_in: Callable[[str], Incident], oncall: User) -> None:
    incident = incident_in("cancelled")
    shown = client_for(oncall).post(f"/incidents/{incident.pk}/post-mortem/begin/", follow=True).content.decode()
    assert "was a false alarm" in shown
    assert not PostMortem.objects.exists()


def test_it_is_submitted_and_published_by_somebody_else(
    client_for: ClientFor, postmortem: PostMortem, oncall: User, engineer: User
) -> None:
    section = postmortem.sections.get(key="causes")
    postmortems.write(section.pk, by=oncall, body="A limit that nobody tested.", version=0)
    client_for(oncall).post(url(postmortem, "submit"), {"note": "Look at the causes"})
    assert now(postmortem).state == "in_review"
    refused = client_for(oncall).post(url(postmortem, "publish"))
    assert refused.status_code == 403
    assert "nobody publishes their own words" in refused.content.decode()
    client_for(engineer).post(url(postmortem, "publish"), {"note": "Read"})
    after = now(postmortem)
    assert (after.state, after.published_by) == ("published", engineer)
    assert [row.move for row in rows_of(postmortem)] == ["publish", "submit", "begin"]
    newest = Revision.objects.get(number=2)
    assert rows_of(postmortem)[0].data["digest"] == newest.digest
    assert "Mei Tanaka published the post-mortem. Read" in [line.text for line in postmortem.incident.timeline.all()]


def test_who_wrote_anything_is_an_author_too(
    client_for: ClientFor, postmortem: PostMortem, oncall: User, engineer: User
) -> None:
    section = postmortem.sections.get(key="summary")
    postmortems.write(section.pk, by=engineer, body="All by Mei", version=0)
    postmortems.submit(postmortem.pk, by=oncall)
    for person in (oncall, engineer):
        assert client_for(person).post(url(postmortem, "publish")).status_code == 403
    assert now(postmortem).state == "in_review"


def test_nothing_written_is_not_submitted(client_for: ClientFor, postmortem: PostMortem, oncall: User) -> None:
    shown = client_for(oncall).post(url(postmortem, "submit"), follow=True).content.decode()
    assert "Nothing is written yet" in shown
    assert not Revision.objects.exists(), "what was refused leaves no revision"


def test_changes_are_requested_with_words(client_for: ClientFor, in_review: PostMortem, engineer: User) -> None:
    client = client_for(engineer)
    assert "Say what has to change" in client.post(url(in_review, "request-changes"), follow=True).content.decode()
    assert now(in_review).state == "in_review"
    client.post(url(in_review, "request-changes"), {"note": "Say since when"})
    assert now(in_review).state == "draft"
    assert any("Say since when" in line.text for line in in_review.incident.timeline.all())


def test_an_open_comment_keeps_it_from_being_published(
    client_for: ClientFor, in_review: PostMortem, oncall: User, engineer: User
) -> None:
    section, client = in_review.sections.get(key="summary"), client_for(engineer)
    client.post(f"/post-mortem-sections/{section.pk}/comment/", {"note": "Since when?"})
    found = Comment.objects.get()
    assert "A comment is still open" in client.post(url(in_review, "publish"), follow=True).content.decode()
    assert "Since when?" in client_for(oncall).get(in_review.get_absolute_url()).content.decode()
    client_for(oncall).post(f"/post-mortem-comments/{found.pk}/resolve/")
    again = client_for(engineer).post(f"/post-mortem-comments/{found.pk}/resolve/", follow=True).content.decode()
    assert "was resolved by Amara Okafor already" in again
    client.post(url(in_review, "publish"))
    assert now(in_review).state == "published"


def test_a_comment_has_words_and_a_writer(
    client_for: ClientFor, in_review: PostMortem, engineer: User, auditor: User
) -> None:
    address = f"/post-mortem-sections/{in_review.sections.get(key='summary').pk}/comment/"
    assert "The comment is empty" in client_for(engineer).post(address, {"note": " "}, follow=True).content.decode()
    assert "at most 4000" in client_for(engineer).post(address, {"note": "x" * 4001}, follow=True).content.decode()
    assert client_for(auditor).post(address, {"note": "x"}).status_code == 403
    assert client_for(engineer).get(address).status_code == 405
    assert not Comment.objects.exists()


def test_an_action_item_without_an_owner_or_date_is_named(
    client_for: ClientFor, in_review: PostMortem, oncall: User, engineer: User
) -> None:
    incident = in_review.incident_id
    action_items.add_item(incident_pk=incident, by=oncall, title="Add a canary", term="long", owner=oncall, due_at=None)
    shown = client_for(engineer).post(url(in_review, "publish"), follow=True).content.decode()
    assert "“Add a canary” has no due date" in shown
    assert now(in_review).state == "in_review"
    assert not Revision.objects.filter(kind="published").exists()


def test_an_amendment_leaves_the_old_revision_readable_and_shows_what_changed(
    client_for: ClientFor, in_review: PostMortem, oncall: User, engineer: User
) -> None:
    postmortems.publish(in_review.pk, by=engineer)
    client = client_for(oncall)
    assert "Say why it is amended" in client.post(url(in_review, "amend"), follow=True).content.decode()
    client.post(url(in_review, "amend"), {"note": "The cause was another"})
    amended = now(in_review)
    assert amended.state == "draft"
    assert amended.published_at is not None, "its incident can still be closed: what was published still stands"
    section = in_review.sections.get(key="summary")
    postmortems.write(section.pk, by=oncall, body="A bad limit answered 500.", version=section.version)
    postmortems.submit(in_review.pk, by=oncall)
    old = client.get(url(in_review, "revisions/2")).content.decode()
    assert "A bad release answered 500." in old
    new = client.get(url(in_review, "revisions/3")).content.decode()
    assert '<span class="gone">A bad release answered 500.</span>' in new
    assert '<span class="came">A bad limit answered 500.</span>' in new
    assert client.get(url(in_review, "revisions/9")).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_revision_cannot_be_rewritten(in_review: PostMortem) -> None:
    with pytest.raises(DatabaseError, match="append-only"):
        Revision.objects.update(sections=[])
    with pytest.raises(DatabaseError, match="append-only"):
        Revision.objects.all().delete()


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_method(client_for: ClientFor, in_review: PostMortem, engineer: User, verb: str) -> None:
    assert client_for(engineer).get(url(in_review, verb)).status_code == 405


@pytest.mark.parametrize("verb", ["request-changes", "publish"])
def test_stranger(
    client: Client, client_for: ClientFor, in_review: PostMortem, stranger: User, auditor: User, verb: str
) -> None:
    assert client.post(url(in_review, verb), {"note": "x"}).headers["Location"].startswith("/accounts/login/")
    for person in (stranger, auditor):
        assert client_for(person).post(url(in_review, verb), {"note": "x"}).status_code == 403
    assert now(in_review).state == "in_review"


def test_wrong_state(client_for: ClientFor, in_review: PostMortem, engineer: User) -> None:
    postmortems.publish(in_review.pk, by=engineer)
    for verb in ("submit", "publish", "request-changes"):
        shown = client_for(engineer).post(url(in_review, verb), {"note": "x"}, follow=True).content.decode()
        assert "was published by Mei Tanaka" in shown
    shown = client_for(engineer).post(url(in_review, "address"), {"audience": "public"}, follow=True).content.decode()
    assert "is no draft" in shown
    assert Revision.objects.count() == 2


def test_bad_input(client_for: ClientFor, postmortem: PostMortem, engineer: User) -> None:
    client = client_for(engineer)
    shown = client.post(url(postmortem, "address"), {"audience": "everybody"}, follow=True).content.decode()
    assert "internal or public" in shown
    assert client.post("/incidents/999/post-mortem/publish/").status_code == 404
    assert client.get("/incidents/999/post-mortem/").status_code == 404
