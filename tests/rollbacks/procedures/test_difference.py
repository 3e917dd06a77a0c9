from __future__ import annotations

import json

import pytest

from rollbacks.procedures.difference import configuration, packages


def rows(live: str, wanted: str) -> list[tuple[str, str, str]]:
    return [(row["name"], row["from"], row["to"]) for row in packages(live, wanted)]


# --- packages -------------------------------------------------------------------------------------------------------


def test_packages_that_change_come_or_go_are_told_by_name() -> None:
    live = "Django==5.2\nnumpy==2.1\nrequests==2.32\n"
    wanted = "django==5.1\nrequests==2.32\nhttpx==0.28\n"
    assert rows(live, wanted) == [("django", "5.2", "5.1"), ("httpx", "", "0.28"), ("numpy", "2.1", "")]


def test_a_dependency_that_the_requirements_do_not_name_is_no_difference() -> None:
    assert rows("Django==5.2\nasgiref==3.8\nsqlparse==0.5\n", "django==5.2\n") == []


def test_one_name_in_two_spellings_is_one_package() -> None:
    assert rows("Flask_Login==1.0\n", "flask-login==1.0\n") == []
    assert rows("zope.interface==6\n", "Zope-Interface == 6  # as in 2019\n") == []


def test_options_comments_and_markers_are_no_packages() -> None:
    wanted = "--index-url https://example.org/simple\n# a comment\n\nhttpx[http2]==0.28; python_version > '3'\n"
    assert rows("", wanted) == [("httpx", "", "0.28")]


def test_a_range_is_shown_as_it_stands() -> None:
    assert rows("django==5.2\n", "django~=5.1\n") == [("django", "5.2", "~=5.1")]


def test_a_password_in_an_address_is_not_shown() -> None:
    (row,) = packages("", "tool @ https://me:hunter22@example.org/tool-1.tar.gz\n")
    assert "hunter22" not in str(row)
    assert "example.org/tool-1.tar.gz" in row["to"]


# --- configuration --------------------------------------------------------------------------------------------------


def changes(live: object, wanted: object) -> list[tuple[str, str, str]]:
    found = configuration("app.json", json.dumps(live).encode(), json.dumps(wanted).encode())
    assert {row["file"] for row in found} <= {"app.json"}
    return [(row["key"], row["from"], row["to"]) for row in found]


def test_json_is_compared_key_by_key_however_it_is_laid_out() -> None:
    assert changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": None}) == [
        ("a.c", "2", "3"),
        ("d", "", "null"),
    ]
    assert configuration("app.json", b'{"a": 1, "b": 2}', b'{\n "b": 2,\n "a": 1\n}\n') == []


def test_the_value_of_a_secret_is_never_shown_but_that_it_changed_is() -> None:
    assert changes({"api_key": "old-value"}, {"api_key": "new-value"}) == [("api_key", "•••", "•••")]
    assert changes({}, {"database": {"password": "hunter22"}}) == [("database.password", "", "•••")]


@pytest.mark.parametrize(
    "secret", [[{"name": "openai", "api_key": "hunter22"}], "postgres://me:hunter22@db/agents", ["token=hunter22"]]
)
def test_a_secret_inside_of_a_value_is_not_shown(secret: object) -> None:
    found = changes({"providers": []}, {"providers": secret})
    assert {key.partition(".")[0] for key, _, _ in found} == {"providers"}
    assert "hunter22" not in str(found)
    assert "•••" in str(found)


def test_toml_yaml_and_ini_are_compared_key_by_key_too() -> None:
    ini = configuration("app.ini", b"[a]\nModel = small\n", b"[a]\nModel = big\npassword = hunter22\n")
    assert [(row["key"], row["from"], row["to"]) for row in ini] == [
        ("a.Model", '"small"', '"big"'),
        ("a.password", "", "•••"),
    ]
    toml = configuration("app.toml", b"[[server]]\nport = 1\n", b"[[server]]\nport = 2\n")
    assert [(row["key"], row["from"], row["to"]) for row in toml] == [("server.0.port", "1", "2")]
    yaml = configuration("app.yml", b"since: 2026-01-01\n", b"since: 2026-02-01\n")
    assert [(row["key"], row["to"]) for row in yaml] == [("since", '"2026-02-01"')]


def test_what_has_no_format_is_compared_line_by_line_without_secrets() -> None:
    found = configuration("app.conf", b"[a]\nmodel = small\n", b"[a]\nmodel = big\npassword = hunter22\n")
    assert [(row["from"], row["to"]) for row in found] == [
        ("model = small", ""),
        ("", "model = big"),
        ("", "password = •••"),
    ]


def test_a_broken_json_file_is_still_compared() -> None:
    found = configuration("app.json", b'{"model": "small",}\n', b'{"model": "small"}\n')
    assert [(row["from"], row["to"]) for row in found] == [('{"model": "small",}', ""), ("", '{"model": "small"}')]


def test_the_same_bytes_are_no_difference() -> None:
    assert configuration("app.json", b"not json", b"not json") == []
