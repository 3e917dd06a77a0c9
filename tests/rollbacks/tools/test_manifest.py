"""A manifest is read strictly, and all of its problems are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollbacks.tools import manifest

LEAST = '[system]\nname = "agents"\nroot = "/srv/agents"\nbackups = "/var/backups/agents"\n'
FULL = """\
[system]
name = "agents-orchestration-system"
environment = "staging"
root = "/srv/agents"
host = "web-1"
config = ["config/agents.config.json"]
secrets = [".env"]
requirements = "requirements.txt"
environment_dir = ".venv"
artifacts = ["artifacts"]
logs = ["logs"]
components = { planner = ["agents/planner.py"] }
backups = "/var/backups/agents"
push_tags = true

[service]
manager = "supervisor"
unit = "agents:web"
url = "unix:///run/supervisor.sock"

[commands]
test = "invoke test"

[health]
url = "http://127.0.0.1:8000/health"
watch_minutes = 1.5
"""


def problems(text: str) -> list[str]:
    with pytest.raises(manifest.ManifestError) as caught:
        manifest.parse(text)
    return caught.value.problems


def test_the_least_that_is_needed() -> None:
    found = manifest.parse(LEAST)
    assert (found.environment, found.host, found.requirements) == ("production", "local", "requirements.txt")
    assert (found.config, found.components, found.commands, found.push_tags) == ((), {}, {}, False)
    assert (found.service, found.health_url, found.watch_minutes) == (manifest.Service("none"), "", 60)
    assert found.state_dir == Path("/srv/agents/.rollback")
    assert found.live_environment == Path("/srv/agents/.venv")


def test_all_that_can_be_said() -> None:
    found = manifest.parse(FULL)
    assert found.components == {"planner": ("agents/planner.py",)}
    assert found.service == manifest.Service("supervisor", "agents:web", "unix:///run/supervisor.sock")
    assert (found.commands, found.watch_minutes, found.push_tags) == ({"test": "invoke test"}, 1.5, True)
    assert found.text == FULL
    assert manifest.parse(FULL) is found


def test_what_is_kept_is_a_rule_of_its_own_with_defaults() -> None:
    assert manifest.parse(FULL).retention == manifest.Retention(10, 7, 4, 12)
    assert manifest.parse(f"{FULL}\n[retention]\nlast = 3\ndaily = 0\n").retention == manifest.Retention(3, 0, 4, 12)


@pytest.mark.parametrize(
    "said", ["last = 0", "last = -1", "daily = -1", "weekly = true", 'monthly = "12"', "last = 1.5"]
)
def test_a_rule_that_makes_no_sense_is_told(said: str) -> None:
    [found] = problems(f"{FULL}\n[retention]\n{said}\n")
    assert f"[retention] {said.split()[0]}" in found
    assert "has to be a whole number from" in found


def test_every_problem_is_told_with_its_line_in_order() -> None:
    text = '[system]\nnam = "X"\nroot = "srv"\nconfig = ["../a", 3]\n\n[service]\nmanager = "sytemd"\n\n[helth]\n'
    found = problems(text)
    assert [each.split(":")[0] for each in found] == [
        "line 1, [system] name",
        "line 1, [system] backups",
        "line 2, [system] nam",
        "line 3, [system] root",
        "line 4, [system] config",
        "line 4, [system] config",
        "line 7, [service] manager",
        "line 9, [helth]",
    ]
    assert found[2].endswith("(did you mean name?)")
    assert found[6] == (
        "line 7, [service] manager: 'sytemd' is unknown: use systemd, supervisor or none (did you mean systemd?)"
    )
    assert found[7].endswith("(did you mean health?)")


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ('name = "agents-orchestration-system"', 'name = "Agents"', 2, "small letters"),
        ('name = "agents-orchestration-system"', 'name = "agents\\n"', 2, "small letters"),
        ('name = "agents-orchestration-system"', "name = 3", 2, "text in quotes"),
        ('"staging"', '"stagin"', 3, "did you mean staging?"),
        ('"/srv/agents"', '"/srv/../agents"', 4, "absolute"),
        ('host = "web-1"', 'host = "web 1"', 5, "small letters"),
        ('["config/agents.config.json"]', '["/etc/passwd"]', 6, "relative to root"),
        ('["config/agents.config.json"]', '["-rf"]', 6, "option"),
        ('["config/agents.config.json"]', '["a/../../b"]', 6, "leaves root"),
        ('["config/agents.config.json"]', '[""]', 6, "names no file"),
        ('["config/agents.config.json"]', '["."]', 6, "names no file"),
        ('["config/agents.config.json"]', '"config"', 6, "a list of paths"),
        ('[".env"]', '[".git/config"]', 7, "belongs to git"),
        ('environment_dir = ".venv"', 'environment_dir = "../venv"', 9, "leaves root"),
        ('["agents/planner.py"]', '"agents/planner.py"', 12, "a list of paths"),
        ('["agents/planner.py"]', '["/agents/planner.py"]', 12, "relative to root"),
        ("planner =", '"--planner" =', 12, "component"),
        ('"/var/backups/agents"', '"/srv/agents/backups"', 13, "inside root"),
        ('"/var/backups/agents"', '"backups"', 13, "absolute"),
        ("push_tags = true", 'push_tags = "yes"', 14, "true or false"),
        ('unit = "agents:web"', 'unit = "--agents"', 18, "no “-” first"),
        ('unit = "agents:web"', 'unit = "a b"', 18, "letters, digits"),
        ('unit = "agents:web"\n', "", 16, "needs the name of the unit"),
        ("unix:///run/supervisor.sock", "supervisor.sock", 19, "supervisor needs its url"),
        ('test = "invoke test"', 'tests = "invoke test"', 22, "did you mean test?"),
        ('test = "invoke test"', "test = 1", 22, "text in quotes"),
        ('test = "invoke test"', 'test = " "', 22, "is empty"),
        ("http://127.0.0.1:8000/health", "ftp://127.0.0.1", 25, "http://"),
        ("http://127.0.0.1:8000/health", "http://", 25, "http://"),
        ("http://127.0.0.1:8000/health", "http://a:99999/", 25, "http://"),
        ("http://127.0.0.1:8000/health", "http://a/ b", 25, "http://"),
        ("watch_minutes = 1.5", "watch_minutes = 0", 26, "above 0"),
        ("watch_minutes = 1.5", "watch_minutes = nan", 26, "above 0"),
        ("watch_minutes = 1.5", "watch_minutes = inf", 26, "above 0"),
        ("watch_minutes = 1.5", "watch_minutes = true", 26, "above 0"),
    ],
)
def test_what_is_refused(old: str, new: str, line: int, word: str) -> None:
    assert old in FULL
    (found,) = problems(FULL.replace(old, new))
    assert found.startswith(f"line {line}, [")
    assert word in found


def test_the_whole_disk_is_no_system() -> None:
    assert "whole disk" in problems(LEAST.replace('"/srv/agents"', '"/"'))[0]


def test_invalid_toml_is_told_with_its_line() -> None:
    assert problems(LEAST + "name = \n") == ["line 5, column 8: this is not valid TOML: Invalid value"]
    assert problems(LEAST + 'host = "web')[0].startswith("line 5")


def test_a_table_has_to_be_one() -> None:
    assert problems("health = 3\n" + LEAST) == [
        "line 1, [health]: has to be a table: write [health] on a line of its own"
    ]


def test_an_empty_text_says_what_is_missing() -> None:
    assert [each.split(": ")[1] for each in problems("")] == ["is missing and required"] * 3


def test_the_unit_of_no_service_manager_is_not_needed() -> None:
    assert manifest.parse(LEAST + '[service]\nmanager = "none"\n').service.unit == ""
    assert "needs the name" in problems(LEAST + '[service]\nmanager = "systemd"\n')[0]
