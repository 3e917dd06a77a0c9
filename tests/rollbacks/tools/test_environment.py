"""Environments are built where they stay, whole or not at all, and only a link moves."""

from __future__ import annotations

import ensurepip
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rollbacks.tools import command, environment
from rollbacks.tools.environment import Live

PYTHON = environment.base_python(Path(sys.prefix))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def wheel(folder: Path, name: str, version: str, needs: str = "") -> str:
    """A tiny package; returns the file's name."""
    info = f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}.py", f"version = {version!r}\n")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}-says = {name}:version.upper\n")
        made.writestr(f"{info}/RECORD", "")
    return path.name


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pip that Python brings takes two seconds to come into an environment; uv puts it there at once."""
    (pip,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    uv = environment.find_uv()

    def make_bare(run: Callable[..., object], target: Path, python: Path, _: str | None) -> None:
        run(uv, "venv", "--python", python, target)
        run(uv, "pip", "install", "--python", target / "bin/python", pip)

    monkeypatch.setattr(environment, "make_bare", make_bare)


def build(target: Path, requirements: str, cwd: Path) -> str:
    said: list[str] = []
    environment.build(target, requirements, python=PYTHON, cwd=cwd, say=said.append)
    return "".join(said)


# --- building -------------------------------------------------------------------------------------------------------


def test_built_whole_where_it_stays(tmp_path: Path) -> None:
    name = wheel(tmp_path, "demo", "1.0")
    (tmp_path / "more.txt").write_text(f"{tmp_path / wheel(tmp_path, 'extra', '2.0')}\n")
    target = tmp_path / "state/environments/abc"
    said = build(target, f"./{name}  # relative to the checkout\n-r more.txt\n", tmp_path)
    assert "demo" in said
    assert environment.is_kept(target)
    assert environment.python_version(target / "bin/python") == environment.python_version(PYTHON)
    assert environment.base_python(target) == PYTHON
    assert {line.split(" @ ")[0] for line in environment.freeze(target).splitlines()} == {"demo", "extra"}
    assert list(target.glob("lib/python*/site-packages/__pycache__/demo.*.pyc"))
    assert subprocess.run([target / "bin/python", "-m", "pip", "--version"], check=False).returncode == 0
    assert (target / "bin/demo-says").read_text().startswith(f"#!{target}/bin/python")


@pytest.mark.usefixtures("_quick")
def test_a_whole_one_is_kept_and_a_half_one_built_anew(tmp_path: Path) -> None:
    target = tmp_path / "a"
    build(target, f"./{wheel(tmp_path, 'demo', '1.0')}\n", tmp_path)
    assert build(target, "", tmp_path) == ""
    assert environment.freeze(target).startswith("demo")
    (target / ".complete").unlink()
    (target / "half").touch()
    build(target, "", tmp_path)
    assert not (target / "half").exists()
    assert environment.freeze(target) == ""


@pytest.mark.usefixtures("_quick")
def test_the_package_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(environment.EnvironmentFailed, match=r"The package no-such-thing.* cannot be had: "):
        build(tmp_path / "a", "no-such-thing==1.0\n", tmp_path)
    assert not environment.is_kept(tmp_path / "a")


@pytest.mark.usefixtures("_quick")
def test_pip_does_it_where_there_is_no_uv_and_packages_have_to_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "find_uv", lambda: None)
    names = wheel(tmp_path, "old", "1.0"), wheel(tmp_path, "needy", "1.0", needs="old>=1.0")
    target = tmp_path / "a"
    build(target, "".join(f"./{name}\n" for name in names), tmp_path)
    assert environment.freeze(target).startswith("needy @ file:///")
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    with pytest.raises(environment.EnvironmentFailed, match=r"do not fit together: needy 1.0 requires old"):
        build(tmp_path / "b", f"./{names[1]}\n", tmp_path)
    assert not environment.is_kept(tmp_path / "b")


def test_it_can_be_stopped_and_is_not_kept_then(tmp_path: Path) -> None:
    with pytest.raises(command.CommandStopped):
        environment.build(tmp_path / "a", "", python=PYTHON, cwd=tmp_path, stopped=lambda: True)
    assert not environment.is_kept(tmp_path / "a")


def test_the_portal_keeps_its_secrets_and_the_installer_gets_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    found = environment.surroundings()
    assert "SECRET_KEY" not in found
    assert (found["HTTPS_PROXY"], found["UV_NO_INDEX"], bool(found["HOME"])) == ("http://proxy", "1", True)


# --- reading --------------------------------------------------------------------------------------------------------


def installed(environment: Path, name: str, version: str, origin: dict[str, object] | None = None) -> None:
    info = environment / "lib/python3.11/site-packages" / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" if name else "")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))


def test_freeze_tells_where_each_package_came_from(tmp_path: Path) -> None:
    git: dict[str, object] = {
        "url": "https://host/x.git",
        "vcs_info": {"vcs": "git", "commit_id": "abc"},
        "subdirectory": "lib",
    }
    archive: dict[str, object] = {"url": "https://host/y.tar.gz", "archive_info": {"hash": "sha256=def"}}
    found: list[tuple[str, str, dict[str, object] | None]] = [
        ("Zebra", "1.0", None),
        ("apple-pie", "2.0", None),
        ("pip", "1", None),
        ("setuptools", "1", None),
        ("wheel", "1", None),
        ("mine", "1", {"url": "file:///srv/mine", "dir_info": {"editable": True}}),
        ("local", "1", {"url": "file:///srv/local", "dir_info": {}}),
        ("from-git", "1", git),
        ("from-url", "1", archive),
        ("", "1", None),  # what an interrupted uninstall leaves
    ]
    for name, version, origin in found:
        installed(tmp_path, name, version, origin)
    assert environment.freeze(tmp_path).splitlines() == [
        "apple-pie==2.0",
        "from-git @ git+https://host/x.git@abc#subdirectory=lib",
        "from-url @ https://host/y.tar.gz#sha256=def",
        "local @ file:///srv/local",
        "-e /srv/mine",
        "Zebra==1.0",
    ]


def test_freeze_agrees_with_pip(tmp_path: Path) -> None:
    def names(said: str) -> set[str]:
        return {line.partition("==")[0].lower().replace("_", "-") for line in said.splitlines() if "==" in line}

    said = subprocess.run(
        [str(environment.find_uv()), "pip", "freeze", "--python", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = names(environment.freeze(Path(sys.prefix)))
    assert ours
    assert not said.stdout or ours == names(said.stdout) - environment.SEEDED


def test_no_environment(tmp_path: Path) -> None:
    assert environment.freeze(tmp_path / "none") == ""
    assert environment.base_python(tmp_path / "none") == Path(sys.executable).resolve()
    assert not environment.is_kept(tmp_path / "none")


def test_the_version_of_an_interpreter_without_an_environment(tmp_path: Path) -> None:
    expected = ".".join(str(each) for each in sys.version_info[:3])
    assert environment.python_version(PYTHON) == expected
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\nversion_info = 3.9.2.final.0\n")
    assert environment.python_version(tmp_path / "bin/python") == "3.9.2"
    with pytest.raises(environment.EnvironmentFailed, match="does not answer as a Python"):
        environment.python_version(Path("/bin/false"))


def test_one_hash_for_what_is_the_same() -> None:
    one = environment.lock_hash("b==2\na==1  # note\n", "3.11.7")
    assert len(one) == 16
    assert one == environment.lock_hash("# head\n\na==1\r\n   b==2", "3.11.9")
    assert one != environment.lock_hash("a==1\nb==2", "3.12.0")
    assert one != environment.lock_hash("a==1\nb==3", "3.11.7")
    assert environment.lock_hash("x @ https://h/x#egg=a", "3.11") != environment.lock_hash("x @ https://h/x", "3.11")


# --- switching ------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "root/.rollback/environments" / name).mkdir(parents=True)
    return tmp_path / "root"


def kept(root: Path, name: str) -> Path:
    return root / ".rollback/environments" / name


@pytest.mark.parametrize("before", ["missing", "directory", "link"])
def test_there_and_back_and_twice_is_fine(root: Path, before: str) -> None:
    live, aside = root / ".venv", root / ".rollback/aside/7/.venv"
    if before == "directory":
        live.mkdir()
        (live / "mine").touch()
    if before == "link":
        live.symlink_to(".rollback/environments/one")
    found = environment.current(live)
    assert found.kind == before
    for _ in range(2):
        environment.switch(live, kept(root, "two"), aside)
        assert environment.current(live) == Live("link", ".rollback/environments/two")
    assert live.resolve() == kept(root, "two")
    for _ in range(2):
        environment.switch_back(live, found, aside)
        assert environment.current(live) == found
    assert (live / "mine").exists() == (before == "directory")
    assert not aside.exists()
    left = {".rollback"} if before == "missing" else {".rollback", ".venv"}
    assert {each.name for each in root.iterdir()} == left


def test_a_kill_between_the_two_moves_is_made_good(root: Path) -> None:
    live, aside = root / ".venv", root / ".rollback/aside"
    (live / "mine").mkdir(parents=True)
    live.rename(aside)  # killed here
    (root / ".venv.new").symlink_to("nowhere")
    environment.switch(live, kept(root, "two"), aside)
    assert live.resolve() == kept(root, "two")
    live.unlink()  # and killed here, going back
    environment.switch_back(live, Live("directory"), aside)
    assert (live / "mine").is_dir()


def test_nothing_is_ever_overwritten(root: Path) -> None:
    live, aside = root / ".venv", root / ".rollback/aside"
    live.mkdir()
    aside.mkdir()
    with pytest.raises(environment.EnvironmentFailed, match="Nothing was changed"):
        environment.switch(live, kept(root, "two"), aside)
    with pytest.raises(environment.EnvironmentFailed, match="left as it is"):
        environment.switch_back(live, Live("missing"), aside)
    assert live.is_dir()
    aside.rmdir()
    environment.switch(live, kept(root, "two"), aside)
    aside.rmdir()
    with pytest.raises(environment.EnvironmentFailed, match="is gone"):
        environment.switch_back(live, Live("directory"), aside)
    assert live.is_symlink()


def test_the_link_is_never_missing(root: Path) -> None:
    live = root / ".venv"
    live.symlink_to(kept(root, "one"))
    code = "import os, sys\nwhile True: os.stat(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, str(live)], stderr=subprocess.DEVNULL) as watcher:
        for _ in range(100):
            environment.switch(live, kept(root, "two"), root / "aside")
            environment.switch(live, kept(root, "one"), root / "aside")
        assert watcher.poll() is None
        watcher.kill()


def test_a_target_elsewhere_is_named_in_full(root: Path, tmp_path: Path) -> None:
    environment.switch(root / ".venv", tmp_path / "elsewhere", root / "aside")
    assert os.readlink(root / ".venv") == str(tmp_path / "elsewhere")


# --- trying ---------------------------------------------------------------------------------------------------------


def lay_in(target: Path, name: str, contents: dict[str, str]) -> None:
    """A package that is there, as an installer leaves it."""
    (site,) = target.glob("lib/python*/site-packages")
    for path, content in contents.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(content)
    info = site / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in contents))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    target = tmp_path / "bare"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", target], check=True)
    return target


def test_every_package_is_imported_and_each_failure_told(bare: Path, tmp_path: Path) -> None:
    lay_in(bare, "good", {"good/__init__.py": "", "good/sub/__init__.py": "raise ValueError", "_private.py": "raise"})
    lay_in(bare, "loud", {"loud.py": "print('half a line', end='')\nraise ImportError('no libloud.so')\n"})
    lay_in(bare, "quits", {"quits.py": "import sys\nsys.exit('bye')\n"})
    lay_in(bare, "pip", {"pip.py": "raise ImportError('it was seeded, nobody asked for it')\n"})
    assert environment.top_level(bare) == ["good", "loud", "quits"]
    found = environment.failing_imports(bare, cwd=tmp_path)
    assert found == {"loud": "ImportError: no libloud.so", "quits": "SystemExit: bye"}


def test_a_package_that_ends_python_is_a_failure(bare: Path, tmp_path: Path) -> None:
    lay_in(bare, "hard", {"hard.py": "import os\nos._exit(3)\n"})
    assert environment.failing_imports(bare, cwd=tmp_path) == {"an import": "ended Python with code 3"}


def test_without_an_environment_nothing_fails(tmp_path: Path) -> None:
    assert environment.failing_imports(tmp_path / "none", cwd=tmp_path) == {}


def test_a_python_of_that_version_is_found_else_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "python3.5"
    old.write_text("#!/bin/sh\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.find_python("3.5.10") == old
    assert environment.find_python("3.4.1") == Path(sys.executable).resolve()
