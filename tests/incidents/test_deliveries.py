"""Who was told what, the bell, the status update and the alarm, as pages."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from incidents import actions
from incidents.models import Audit, Incident, Notification, Way

ClientFor = Callable[[User], Client]
ALL = "/notifications/deliveries/"


def mail_to(person: User) -> Notification:
    return Notification.objects.exclude(way=Way.BROWSER).get(person=person)


def give_up(row: Notification) -> None:
    Notification.objects.filter(pk=row.pk).update(state="dead")


def test_an_incident_shows_who_was_told(
    client_for: ClientFor, oncall: User, oncall2: User, auditor: User, engineer: User
) -> None:
    incident = actions.declare(by=oncall, title="<script>x</script>", severity="high", scope="multiple")
    page = client_for(engineer).get(f"/incidents/{incident.pk}/deliveries/").content.decode()
    assert "Mail: oncall2@example.org" in page
    assert "<script>x" not in page
    assert "oncall2@example.org" in client_for(auditor).get(ALL).content.decode()
    assert "1 pending" in client_for(engineer).get(f"/incidents/{incident.pk}/").content.decode()


def test_stranger_and_wrong_method(client: Client, client_for: ClientFor, incident: Incident, engineer: User) -> None:
    assert client.get(ALL).status_code == 302
    assert client_for(engineer).get(ALL).status_code == 403
    assert client_for(engineer).post(f"/incidents/{incident.pk}/deliveries/").status_code == 405
    assert client_for(engineer).get("/incidents/999/deliveries/").status_code == 404


def test_what_was_given_up_is_sent_again_by_those_who_may(
    client_for: ClientFor, oncall: User, oncall2: User, auditor: User
) -> None:
    actions.declare(by=oncall, title="500", severity="high", scope="multiple")
    row = mail_to(oncall2)
    url = f"{ALL}{row.pk}/resend/"
    client_for(oncall).post(url)
    assert Notification.objects.filter(again=row).count() == 0, "it is on its way already"
    give_up(row)
    assert client_for(auditor).post(url).status_code == 403
    assert client_for(oncall).get(url).status_code == 405
    client_for(oncall).post(url)
    copy = Notification.objects.get(again=row)
    assert (copy.state, copy.address) == ("pending", "oncall2@example.org")


def test_the_bell_counts_what_is_unread(client_for: ClientFor, oncall: User, oncall2: User) -> None:
    actions.declare(by=oncall, title="Everything answers 500", severity="high", scope="multiple")
    client = client_for(oncall2)
    assert "<b>1</b> unread" in client.get("/").content.decode()
    assert "Everything answers 500" in client.get("/notifications/").content.decode()
    client.post("/notifications/read/")
    assert "unread" not in client.get("/").content.decode()
    assert "Nobody has told you anything" in client_for(oncall).get("/notifications/").content.decode()


def test_a_status_update_is_on_the_timeline(
    client: Client, client_for: ClientFor, incident: Incident, oncall: User, auditor: User
) -> None:
    url = f"/incidents/{incident.pk}/update/"
    assert client_for(auditor).post(url, {"note": "Hello"}).status_code == 403
    assert client_for(oncall).get(url).status_code == 405
    client_for(oncall).post(url, {"note": ""})
    assert incident.timeline.filter(kind="update").count() == 0
    page = client_for(oncall).post(url, {"note": "Half is <b>back</b>"}, follow=True).content.decode()
    assert "Half is &lt;b&gt;back&lt;/b&gt;" in page
    assert incident.timeline.get(kind="update").by == oncall


def test_the_alarm_is_on_the_overview(client_for: ClientFor, oncall: User) -> None:
    Audit.objects.create(pk=1, findings=["Incident 1: declare at 10:00:00 UTC was told nobody"])
    assert "was told nobody" in client_for(oncall).get("/").content.decode()
