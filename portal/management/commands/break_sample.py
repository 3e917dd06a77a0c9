from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from portal.sample import control
from portal.sample.layout import health_url
from rollbacks.models import System


class Command(BaseCommand):
    help = "Deploys a release of the sample system that starts, and then answers 500. Refused for any other system."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("system", nargs="?", help="the sample's name; needed only where there are several")

    def handle(self, *, system: str | None, **options: Any) -> None:
        found = sample_named(system)
        home = settings.HOME / "sample"
        try:
            commit = control.deploy_bad(home)
        except control.NotRunningError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{found}: checked out release 1.3.0 ({commit[:10]}), installed its requirements, restarted the service.\n"
            f"Its health will answer 500: {health_url(home)}"
        )


def sample_named(name: str | None) -> System:
    """The sample system. CommandError for a system that is not one: nobody breaks a real system from here."""
    systems = list(System.objects.filter(name=name) if name else System.objects.all())
    samples = [system for system in systems if system.is_sample]
    if samples:
        return samples[0]
    if systems and name:
        raise CommandError(f"{name} is not the sample: it is left alone", returncode=2)
    raise CommandError(
        f"there is no system {name}" if name else "there is no sample: make up lays one out", returncode=2
    )
