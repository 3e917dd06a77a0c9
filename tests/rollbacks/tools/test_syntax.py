"""A configuration file is read by what its name says; what cannot be read is told with its place."""

from __future__ import annotations

from typing import Any

import pytest

from rollbacks.tools import syntax


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.json", b'{"a": [1, null]}', {"a": [1, None]}),
        ("a.JSON", b"\xef\xbb\xbf{}", {}),
        ("a.toml", b"[a]\nb = 1\n", {"a": {"b": 1}}),
        ("config/a.yaml", b"a:\n  - b\n", {"a": ["b"]}),
        ("a.yml", b"", None),
        ("a.ini", b"[a]\nKey = %(x)s\n", {"a": {"Key": "%(x)s"}}),
        ("a.cfg", b"[a]\n", {"a": {}}),
        (".env", b"A=1", None),
        ("Makefile", b"\xff\xfe", None),
    ],
)
def test_values_by_the_format_of_the_name(name: str, content: bytes, found: Any) -> None:
    assert syntax.parse(name, content) == found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{'a': 1}", "JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("a.json", b"", "JSON: Expecting value: line 1 column 1"),
        ("a.json", b"\xff", "JSON: 'utf-8' codec can't decode"),
        ("a.json", b"[" * 100_000, "JSON: nested too deeply"),
        ("a.toml", b"a = \n", "TOML: Invalid value (at line 1, column 5)"),
        ("a.yaml", b"a: [1\n", "line 2, column 1"),
        ("a.yaml", b"!!python/object/apply:os.system ['true']", "could not determine a constructor for the tag"),
        ("a.ini", b"a = 1\n", "INI: File contains no section headers."),
        ("a.ini", b"[a]\nb = 1\nb = 2\n", "option 'b' in section 'a' already exists"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(name: str, content: bytes, said: str) -> None:
    with pytest.raises(syntax.NotValid) as wrong:
        syntax.parse(name, content)
    assert said in str(wrong.value)
    assert "\n" not in str(wrong.value)
