"""The pages of who is on call, the calendar, the upload and the API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from icalendar import Calendar

from incidents.models import Absence, Override, Rotation, Turn
from portal.ledger.models import rows_of

ClientFor = Callable[[User], Client]
ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//y//EN
BEGIN:VEVENT
UID:1
DTSTART{start}
DTEND{end}
SUMMARY:{summary}
{more}END:VEVENT
END:VCALENDAR
"""


@pytest.fixture(autouse=True)
def _on_a_tuesday() -> Iterator[None]:
    with time_machine.travel(datetime(2026, 3, 3, 12, tzinfo=UTC), tick=False):
        yield


@pytest.fixture
def rotation(oncall: User, oncall2: User) -> Rotation:
    made = Rotation.objects.create(
        name="Primary", covers="agents", weekday=0, handover=time(9), time_zone="Europe/Berlin", starts=date(2026, 3, 2)
    )
    for order, person in enumerate([oncall, oncall2]):
        Turn.objects.create(rotation=made, person=person, order=order)
    return made


def ics(
    start: str = ":20260304T000000Z", end: str = ":20260306T000000Z", summary: str = "Trip", more: str = ""
) -> SimpleUploadedFile:
    text = ICS.format(start=start, end=end, summary=summary, more=more)
    return SimpleUploadedFile("away.ics", text.replace("\n", "\r\n").encode())


def address_on(page: str) -> str:
    found = re.search(r"http://testserver(/on-call/calendar/[\w-]{43}\.ics)", page)
    assert found, page
    return found[1]


def test_now_next_and_ahead(client_for: ClientFor, rotation: Rotation, oncall: User, auditor: User) -> None:
    page = client_for(auditor).get("/on-call/")
    watch = page.context["watches"][0]
    assert (watch.now.name, watch.following.name) == ("Amara Okafor", "Jonas Berg")
    assert [each.name for each in watch.ahead] == ["Amara Okafor", "Jonas Berg"] * 2 + ["Amara Okafor"]
    assert "Amara Okafor" in client_for(auditor).get("/contacts/").content.decode()
    oncall.is_active = False
    oncall.save()
    assert "Nobody: Amara Okafor has left" in client_for(auditor).get("/on-call/").content.decode()


def test_empty(client_for: ClientFor, auditor: User) -> None:
    assert "There is no rotation yet" in client_for(auditor).get("/on-call/").content.decode()


def test_an_override_is_typed_in_the_rotations_time(client_for: ClientFor, rotation: Rotation, oncall2: User) -> None:
    words = {"person": oncall2.pk, "start": "2026-03-03T13:00", "end": "2026-03-04T09:00", "note": "Doctor"}
    client = client_for(oncall2)
    assert client.post(f"/on-call/{rotation.pk}/override/", words).status_code == 302
    made = Override.objects.get()
    assert (made.starts_at, made.person) == (datetime(2026, 3, 3, 12, tzinfo=UTC), oncall2)
    assert client.get("/on-call/").context["watches"][0].now.name == "Jonas Berg"
    assert rows_of(rotation).get().move == "override"


def test_a_swap_is_two_overrides(client_for: ClientFor, rotation: Rotation, oncall: User) -> None:
    client = client_for(oncall)
    words = {"one": "2026-03-03T12:00:00+00:00", "other": "2026-03-09T08:00:00+00:00"}
    client.post(f"/on-call/{rotation.pk}/swap/", words)
    ahead = client.get("/on-call/").context["watches"][0].ahead
    assert [each.name for each in ahead[:3]] == ["Jonas Berg", "Amara Okafor", "Amara Okafor"]
    assert Override.objects.count() == 2


def test_wrong_method(client_for: ClientFor, rotation: Rotation, oncall: User) -> None:
    client = client_for(oncall)
    for url in (f"/on-call/{rotation.pk}/swap/", "/on-call/address/", "/on-call/absences/"):
        assert client.get(url).status_code == 405


def test_stranger(client: Client, client_for: ClientFor, rotation: Rotation, oncall: User, auditor: User) -> None:
    assert client.get("/on-call/").status_code == 302
    words = {"person": oncall.pk, "start": "2026-03-03T13:00", "end": "2026-03-04T09:00"}
    times = {"one": "2026-03-03T12:00:00+00:00", "other": "2026-03-09T08:00:00+00:00"}
    other = client_for(auditor)
    assert other.post(f"/on-call/{rotation.pk}/override/", words).status_code == 403
    assert other.post(f"/on-call/{rotation.pk}/swap/", times).status_code == 403
    assert other.post("/on-call/absences/", {"file": ics(), "time_zone": "UTC"}).status_code == 403
    assert not Override.objects.exists()
    assert not Absence.objects.exists()


def test_bad_input(client_for: ClientFor, rotation: Rotation, oncall: User) -> None:
    client = client_for(oncall)
    words = {"person": oncall.pk, "start": "2026-03-05T13:00", "end": "2026-03-04T09:00"}
    assert "ends before it begins" in client.post(f"/on-call/{rotation.pk}/override/", words).content.decode()
    over = {**words, "start": "2026-03-01T13:00", "end": "2026-03-02T09:00"}
    assert "That time is over" in client.post(f"/on-call/{rotation.pk}/override/", over).content.decode()
    client.post(f"/on-call/{rotation.pk}/swap/", {"one": "x"})
    same = {"one": "2026-03-03T12:00:00+00:00", "other": "2026-03-16T08:00:00+00:00"}
    page = client.post(f"/on-call/{rotation.pk}/swap/", same, follow=True).content.decode()
    assert "Both shifts are Amara Okafor" in page
    assert client.get("/on-call/999/override/").status_code == 404
    assert not Override.objects.exists()


# --- calendars ------------------------------------------------------------------------------------------------------


def test_a_private_address_has_the_persons_shifts_until_a_new_one_is_made(
    client: Client, client_for: ClientFor, rotation: Rotation, oncall: User
) -> None:
    url = address_on(client_for(oncall).post("/on-call/address/").content.decode())
    answer = client.get(url)
    assert answer.headers["Content-Type"].startswith("text/calendar")
    events = Calendar.from_ical(answer.content).walk("VEVENT")
    assert [event.decoded("dtstart") for event in events][:2] == [
        datetime(2026, 3, 2, 8, tzinfo=UTC), datetime(2026, 3, 16, 8, tzinfo=UTC),
    ]  # fmt: skip
    assert url not in client_for(oncall).get("/on-call/").content.decode()
    client_for(oncall).post("/on-call/address/")
    assert client.get(url).status_code == 404
    assert client.get("/on-call/calendar/x.ics").status_code == 404


def test_absences_make_gaps_and_a_second_upload_renews_them(
    client_for: ClientFor, rotation: Rotation, oncall: User
) -> None:
    client = client_for(oncall)
    for end in (":20260305T000000Z", ":20260306T000000Z"):
        client.post("/on-call/absences/", {"file": ics(end=end), "time_zone": "UTC"})
    assert Absence.objects.get().ends_at == datetime(2026, 3, 6, tzinfo=UTC)
    ahead = client.get("/on-call/").context["watches"][0].ahead
    assert [each.name for each in ahead[:3]] == ["Amara Okafor", "Nobody: away", "Amara Okafor"]


def test_a_whole_day_is_meant_where_the_person_is(client_for: ClientFor, oncall: User) -> None:
    file = ics(start=";VALUE=DATE:20260401", end=";VALUE=DATE:20260402")
    client_for(oncall).post("/on-call/absences/", {"file": file, "time_zone": "Europe/Berlin"})
    assert Absence.objects.get().starts_at == datetime(2026, 3, 31, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (SimpleUploadedFile("a.ics", b"\x00\xff not a calendar"), "cannot be read"),
        (SimpleUploadedFile("a.ics", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"), "no event"),
        (ics(more="RRULE:FREQ=DAILY\n"), "repeats"),
        (ics(end=":20260301T000000Z"), "ends before it begins"),
        (ics(start=":soon"), "no beginning and end"),
        (SimpleUploadedFile("a.ics", b"x" * (1024 * 1024 + 1)), "larger than 1 MB"),
    ],
    ids=["binary", "empty", "repeats", "backwards", "no time", "large"],
)
def test_a_bad_calendar_is_refused_in_words(
    client_for: ClientFor, oncall: User, file: SimpleUploadedFile, said: str
) -> None:
    file.seek(0)
    response = client_for(oncall).post("/on-call/absences/", {"file": file, "time_zone": "UTC"})
    assert response.status_code == 422
    assert said in response.content.decode()
    assert not Absence.objects.exists()


def test_script_in_a_calendar_is_shown_and_not_run(client_for: ClientFor, oncall: User) -> None:
    client = client_for(oncall)
    client.post("/on-call/absences/", {"file": ics(summary="<script>alert(1)</script>"), "time_zone": "UTC"})
    page = client.get("/on-call/").content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


# --- tools ----------------------------------------------------------------------------------------------------------


def test_the_api_says_who_to_those_who_may_know(
    client: Client, client_for: ClientFor, rotation: Rotation, oncall: User
) -> None:
    assert client.get("/api/on-call/").status_code == 401
    assert client.get("/api/on-call/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    url = address_on(client_for(oncall).post("/on-call/address/").content.decode())
    token = url.rsplit("/", 1)[1].removesuffix(".ics")
    said = json.loads(client.get("/api/on-call/", headers={"Authorization": f"Bearer {token}"}).content)
    assert said == client_for(oncall).get("/api/on-call/").json()
    (found,) = said["rotations"]
    assert (found["now"]["person"]["username"], found["next"]["person"]["username"]) == ("oncall", "oncall2")
    assert found["now"]["end"] == "2026-03-09T08:00:00+00:00"
    oncall.is_active = False
    oncall.save()
    assert client.get("/api/on-call/", headers={"Authorization": f"Bearer {token}"}).status_code == 401
