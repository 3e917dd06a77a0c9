"""A bad value stops the start, and the message says which one and what to write instead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(home: Path, code: str = "", **values: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that loads the settings, with nothing in its environment but these values."""
    environment = {"PATH": os.environ["PATH"], "PORTAL_HOME": str(home), **values}
    script = f"from portal import settings\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"DEBUG": "maybe"}, "DEBUG is 'maybe': say on or off"),
        ({"HTTPS": "2"}, "HTTPS is '2': say on or off"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is shorter than 32 characters"),
        ({"DATABASE_URL": "mysql://user@host/name"}, "neither PostgreSQL nor SQLite"),
        ({"REDIS_URL": "amqp://host"}, "REDIS_URL must start with"),
        ({"HEALTH_SECONDS": "often"}, "HEALTH_SECONDS is 'often': give seconds"),
        ({"LEASE_SECONDS": "0"}, "LEASE_SECONDS is '0': give seconds"),
        ({"SWEEP_SECONDS": "-1"}, "SWEEP_SECONDS is '-1': give seconds"),
        ({"HEALTH_SECONDS": "nan"}, "HEALTH_SECONDS is 'nan': give seconds"),
        ({"PORTAL_DEMO": "on", "ALLOWED_HOSTS": "portal.example.org"}, "PORTAL_DEMO signs anybody in"),
        ({"PORTAL_DEMO": "on", "ALLOWED_HOSTS": "localhost,*"}, "PORTAL_DEMO signs anybody in"),
    ],
)
def test_a_bad_value_stops_the_start(tmp_path: Path, values: dict[str, str], said: str) -> None:
    ended = start(tmp_path, **values)
    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]


def test_without_anything(tmp_path: Path) -> None:
    ended = start(tmp_path / "home", "print(settings.DEBUG, settings.DEMO, settings.HTTPS, settings.SECRET_KEY)")
    assert ended.returncode == 0, ended.stderr
    key = tmp_path / "home" / "secret_key"
    assert ended.stdout.split() == ["False", "False", "False", key.read_text()]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert start(tmp_path / "home", "print(settings.SECRET_KEY)").stdout.strip() == key.read_text()


def test_a_real_host_is_https(tmp_path: Path) -> None:
    code = "print(settings.HTTPS, settings.SESSION_COOKIE_SECURE, settings.SECURE_HSTS_SECONDS > 0)"
    assert start(tmp_path, code, ALLOWED_HOSTS="portal.example.org").stdout.split() == ["True"] * 3


def test_a_deep_home_gets_a_short_socket(tmp_path: Path) -> None:
    ended = start(tmp_path / ("deep" * 30), "print(settings.BROKER_SOCKET)")
    assert len(ended.stdout.strip().encode()) <= 100


def test_first_starts_at_once_share_the_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: start(tmp_path, "print(settings.SECRET_KEY)"), range(4)))
    assert len({each.stdout for each in ended}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_a_broker_of_ones_own(tmp_path: Path) -> None:
    ended = start(tmp_path, "print(settings.CELERY_BROKER_URL)", REDIS_URL="unix:///run/redis.sock")
    assert ended.stdout.strip() == "redis+socket:///run/redis.sock"


def test_who_is_cut_off_from_postgresql_is_noticed_and_the_addresss_own_options_count(tmp_path: Path) -> None:
    url = "postgres://portal@db.example.org/portal?sslmode=require&keepalives_idle=60"
    shown = "print(*(settings.DATABASES['default']['OPTIONS'][name] for name in ('tcp_user_timeout', 'sslmode')))"
    assert start(tmp_path, shown, DATABASE_URL=url).stdout == "15000 require\n"
    shown = "print(settings.DATABASES['default']['OPTIONS']['keepalives_idle'])"
    assert start(tmp_path, shown, DATABASE_URL=url).stdout == "60\n"
