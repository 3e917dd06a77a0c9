"""Secrets never pass, however they are cut into chunks."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from rollbacks.tools import mask

SECRET = "hunter2-S3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"PASSWORD={SECRET}",
        f"export DB_PASSWORD='{SECRET}'",
        f"api_key: {SECRET}",
        f"API-KEY = {SECRET}",
        f'{{"access_token": "{SECRET}", "a": 1}}',
        f'{{"access_token":"{SECRET}"}}',
        f'password: "my long {SECRET} words"',
        f"password = 'it\\'s {SECRET}'",
        f'password = "no end {SECRET}\nnext',
        f"PASSWORD=ab,c;d{SECRET}",
        f"PASSWORD=ab'{SECRET}",
        f"postgres://me:{SECRET}@db/x",
        f"redis://:{SECRET}@host",
        f"http://me:/{SECRET}/a@b@host:9001/RPC2",
        f"http://me@example.org:a@b/{SECRET}@host",
        f"https://{SECRET}@host/agents.git",
        f"https://{SECRET}:x-oauth-basic@host/agents.git",
        f'{{"first":"http://host:80/","second":"http://me:{SECRET}@host/"}}',
        f"Authorization: Bearer {SECRET}",
        f"authorization: token {SECRET}",
        f"'Authorization': 'Basic {SECRET}'",
        f"curl -H 'X-Api-Key: {SECRET}'",
        f"tool --password {SECRET} --verbose",
        f"tool --auth-token={SECRET}",
        f"https://host/x?user=me&token={SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"client_secret_{'x' * 50}={SECRET}",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    found = mask.Masker([])(text)
    assert SECRET not in found
    assert "S3cr3t" not in found
    assert mask.HIDDEN in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 passed in 0.1s",
        "https://host:8000/x@y",
        "https://host/@me",
        "http://[::1]:8000/x@y",
        "the token expired",
        "tokenizer loaded",
        "password:",
        "a=b",
        "=\n:",
    ],
)
def test_innocent_words_stay(text: str) -> None:
    assert mask.Masker([])(text) == text


def test_where_an_address_leads_stays() -> None:
    found = mask.Masker([])(f"fatal: 'http://me:p@ss/{SECRET}@host:9001/RPC2' is away, and so is http://other/")
    assert found == f"fatal: 'http://{mask.HIDDEN}@host:9001/RPC2' is away, and so is http://other/"


def test_known_secrets_are_hidden_wherever_they_are() -> None:
    masker = mask.Masker([SECRET, f"{SECRET}-longer", "short", "", "a.c+(d)*"])
    assert masker(f"x{SECRET}y") == f"x{mask.HIDDEN}y"
    assert masker(f"{SECRET}-longer") == mask.HIDDEN
    assert masker("short") == "short"
    assert masker("a.c+(d)* abc") == f"{mask.HIDDEN} abc"


@pytest.mark.parametrize("chunk", [1, 7, 100, 5000, 70_000])
def test_a_secret_in_a_stream_is_hidden_however_it_is_cut(chunk: int) -> None:
    stream = mask.Stream(mask.Masker([SECRET]))
    dice = random.Random(chunk)  # noqa: S311
    parts = [
        dice.choice([SECRET, "x" * dice.randrange(900), " ", "\n", "token=abcdefgh123 ", "http://me:abcdefgh/@h "])
        for _ in range(3000)
    ]
    whole = "".join(parts)
    shown = "".join(stream.feed(whole[at : at + chunk]) for at in range(0, len(whole), chunk)) + stream.close()
    assert SECRET not in shown
    assert not any(SECRET[at : at + 6] in shown for at in range(len(SECRET) - 5))
    assert "abcdefgh" not in shown
    assert shown.count("\n") == whole.count("\n")


@pytest.mark.parametrize("chunk", [1000, 4096, 65536])
def test_a_very_long_secret_in_a_stream_is_hidden(chunk: int) -> None:
    stream = mask.Stream(mask.Masker([]))
    whole = "x" * 3000 + " password=" + "0123456789abcdef" * 20_000 + " end\n"
    shown = "".join(stream.feed(whole[at : at + chunk]) for at in range(0, len(whole), chunk)) + stream.close()
    assert "0123456789" not in shown
    assert shown.startswith("x" * 3000)
    assert shown.endswith(" end\n")


def test_a_stream_hides_nothing_else_and_does_not_keep_lines_back() -> None:
    stream = mask.Stream(mask.Masker([SECRET]))
    assert stream.feed("one\ntw") == "one\n"
    assert stream.feed("o\n") == "two\n"
    assert len(stream.feed("y" * 10_000)) > 5000
    assert len(stream.close()) < 5000
    assert stream.close() == ""


@pytest.mark.parametrize(
    "text",
    [
        "a-" * 30_000,
        "token" * 12_000,
        "://" * 20_000,
        "a://" * 20_000,
        "a://b:80/" * 10_000 + "@",
        "a://b:c@" * 10_000,
        "password " * 7000,
        '"\\' * 30_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    began = time.perf_counter()
    mask.Masker([SECRET])(text)
    assert time.perf_counter() - began < 1


def test_values_of_env_files(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "DEBUG=1\n# a note\nexport API_KEY='quoted-value'\nDB_PASSWORD=plain-value # why\n"
        "DATABASE_URL=postgres://me:in-the-url@db/x\nBROKER=redis://:p%40ss/word@host\nSECRET_KEY\nTOKEN=\n"
    )
    found = mask.from_env_files([path, tmp_path / "none"])
    assert {"quoted-value", "plain-value", "in-the-url", "p%40ss/word", "p@ss/word"} <= set(found)
    assert "1" not in found


def test_keys_that_look_secret() -> None:
    assert all(map(mask.looks_secret, ["password", "DB_PASSWORD", "apiKey", "github.token", "client-secret"]))
    assert not any(map(mask.looks_secret, ["debug", "host", "key", "path", ""]))
