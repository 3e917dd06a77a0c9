from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from incidents import duty
from incidents.models import EmergencyContact
from portal.ledger.roles import called


class Command(BaseCommand):
    help = "Whom to reach, and who is on call, as plain text: for the night when everything is down, and for the wall."

    def handle(self, **options: Any) -> None:
        self.stdout.write("ON CALL NOW")
        for watch in duty.watches():
            self.stdout.write(f"  {watch.rotation} ({watch.rotation.covers}): {watch.now.name}")
            self.stdout.write(f"    until {watch.now.shift.end:%a %d %b %H:%M} UTC")
        self.stdout.write("\nCONTACTS, in this order")
        for contact in EmergencyContact.objects.select_related("person").prefetch_related("deputies"):
            people = ", ".join([contact.person_name, *(called(each) for each in contact.deputies.all())])
            self.stdout.write(f"  {contact.role}: {people} ({contact.duty})")
            for kind, where in contact.channels:
                self.stdout.write(f"    {kind:6} {where}")
            if contact.hours:
                self.stdout.write(f"    hours  {contact.hours} ({contact.time_zone})")
            verified = f"{contact.verified_on:%d %b %Y}" if contact.verified_on else "never"
            self.stdout.write(f"    verified {verified}{', STALE' if contact.is_stale else ''}")
