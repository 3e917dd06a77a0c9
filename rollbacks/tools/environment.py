"""Virtual environments, kept one per lock hash, so that going back to one is a renamed link and not an installation.

An environment cannot be moved (its scripts name its path), so it is built where it stays, and only the link moves.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from itertools import count
from pathlib import Path

from rollbacks.tools import ToolError, command, files

MARKER = ".complete"
SEEDED = {"pip", "setuptools", "wheel"}  # put there with the environment, not by its requirements
INSTALLER = re.compile(r"(UV|PIP)_\w+|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE", re.IGNORECASE)
COMMENT = re.compile(r"(^|\s)#.*")
INCLUDED = re.compile(r"^(\s*(?:-r|-c|--requirement|--constraint)[\s=]*)([^/\s=-][^:\s]*)\s*$", re.MULTILINE)
LOCAL = re.compile(
    r"(?P<editable>(?:-e|--editable)[\s=]*)?(?!-)(?P<path>\.{1,2}(?:/[^\s;\[]*)?|[\w.-]+/[^\s;\[]*|[\w.-]+\.(?:whl|zip|tar\.gz))"
    r"(?:\[[^\]]*\])?\s*(?:;.*)?"
)
NOTE = "# in the checkout:"
CULPRIT = re.compile(
    r"No matching distribution found for (\S+)"
    r"|Because (\S+) was not found"
    r"|there (?:is|are) no versions? of (\S+)"
    r"|is available and you require ([^\s,]+)"
    r"|Failed (?:to )?build(?:ing)? (?:wheel for |installable wheels for )?`?([A-Za-z0-9][^\s`]*)"
    r"|Failed to (?:download|fetch|prepare)[^`\n]*`([^`\s]+)`"
)


class EnvironmentFailed(ToolError):
    """An environment cannot be had. Names the package that is missing, when the installer tells it."""


@dataclass(frozen=True)
class Live:
    kind: str  # link, directory, missing
    target: str = ""  # of a link: its text


# --- reading --------------------------------------------------------------------------------------------------------


def freeze(environment: Path) -> str:
    """Like `pip freeze`: sorted lines "name==version"; "" when there is no environment."""
    places = [str(each) for each in environment.glob("lib/python*/site-packages")]
    found: dict[str, str] = {}
    for each in distributions(path=places) if places else ():
        if each.metadata["Name"]:  # an interrupted uninstall leaves nameless ones
            found.setdefault(canonical(each.metadata["Name"]), frozen(each))
    return "".join(f"{found[name]}\n" for name in sorted(found) if name not in SEEDED)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def frozen(distribution: Distribution) -> str:
    """One line: with the version, or with where it came from when it is not from an index."""
    name = distribution.metadata["Name"]
    written = distribution.read_text("direct_url.json")
    if not written:
        return f"{name}=={distribution.version}"
    origin = json.loads(written)
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {origin['url'].removeprefix('file://')}"
    return f"{name} @ {origin_url(origin)}"


def origin_url(origin: dict[str, dict[str, str]]) -> str:
    url, vcs, notes = str(origin["url"]), origin.get("vcs_info"), []
    if vcs:
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    if digest := origin.get("archive_info", {}).get("hash"):
        notes.append(str(digest))
    if folder := origin.get("subdirectory"):
        notes.append(f"subdirectory={folder}")
    return f"{url}#{'&'.join(notes)}" if notes else url


def python_version(python: Path) -> str:
    """ "3.11.7" of an interpreter file. Raises EnvironmentFailed when it cannot be told."""
    note = python.parent.parent / "pyvenv.cfg"
    written = note.read_text() if note.is_file() else ""
    if found := re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)", written, re.MULTILINE):
        return found[1]
    return asked_version(python.resolve())


@lru_cache(maxsize=64)
def asked_version(python: Path) -> str:
    ask = "import platform; print(platform.python_version())"
    try:
        return command.run([str(python), "-I", "-c", ask], cwd=Path("/"), timeout=30).output.strip()
    except command.CommandFailed as error:
        raise EnvironmentFailed(f"{python} does not answer as a Python: {error} Nothing was changed.") from error


def lock_hash(requirements: str, python: str) -> str:
    """16 hex digits that name the environment of these requirements under this Python ("3.11.7": 3.11 counts)."""
    lines = sorted(filter(None, map(bare, requirements.splitlines())))
    minor = ".".join(python.split(".")[:2])
    return hashlib.sha256("\n".join([*lines, minor]).encode()).hexdigest()[:16]


def bare(line: str) -> str:
    """A line of requirements without its comment; what whole() noted stays."""
    line = line.strip()
    return line if line.startswith(NOTE) else COMMENT.sub("", line).strip()


def whole(requirements: str, at: str, read: Callable[[str], str | None], named: Callable[[str], str]) -> str:
    """The requirements with all files that they include in their place, and with a note of what else they refer to in
    the checkout: so that their hash names everything that is installed.

    `at`: their own path. `read(path)`: a file's text. `named(path)`: a name of the content of that file or folder. Both
    are asked for paths in the checkout, and answer None and "" for what is not there. Raises EnvironmentFailed for what
    would be installed as a link to where it is only staged.
    """
    lines: list[str] = []
    seen = {at}
    waiting = [(line, posixpath.dirname(at)) for line in reversed(requirements.splitlines())]
    while waiting:
        line, folder = waiting.pop()
        words = bare(line)
        included, local = INCLUDED.fullmatch(words), LOCAL.fullmatch(words)
        if local and local["editable"]:
            raise EnvironmentFailed(
                f"{at} installs a part of the checkout as a link (“{words}”), and it would point to where the release "
                "is only staged. Nothing was changed. Choose a restore point: it names every package by itself."
            )
        if local:
            lines += [words, f"{NOTE} {local['path']}: {named(posixpath.normpath(local['path']))}"]
            continue
        path = posixpath.normpath(posixpath.join(folder, included[2])) if included else ""
        text = read(path) if path else None
        if included is None or text is None:
            lines.append(line)
        elif "c" in included[1]:  # --constraint
            lines += [f"{included[1]}{path}", f"{NOTE} {path}: {files.digest(text)}"]
        elif path not in seen:
            seen.add(path)
            waiting += [(each, posixpath.dirname(path)) for each in reversed(text.splitlines())]
    return "".join(f"{line}\n" for line in lines)


def base_python(environment: Path) -> Path:
    """The interpreter that the environment was made with; the portal's own when there is no environment."""
    python = environment / "bin" / "python"
    return (python if python.exists() else Path(sys.executable)).resolve()


def find_python(version: str) -> Path:
    """An interpreter on PATH of that minor version ("3.11.7": 3.11 counts); the portal's own when there is none."""
    found = shutil.which(f"python{'.'.join(version.split('.')[:2])}")
    return Path(found or sys.executable).resolve()


# --- building -------------------------------------------------------------------------------------------------------


def is_kept(target: Path) -> bool:
    """Was it built to its end, is its interpreter still there, and does it hold what it held then? (Somebody may have
    installed into it since: by the live link, or by its path.)"""
    marker = target / MARKER
    return marker.is_file() and (target / "bin" / "python").exists() and marker.read_text() == holding(target)


def holding(target: Path) -> str:
    """A digest of its packages."""
    try:
        return files.digest(freeze(target))
    except (OSError, ValueError):
        return "not readable"


def mark(target: Path) -> None:
    """It is built to its end."""
    files.write(target / MARKER, holding(target).encode())


def place_for(folder: Path, lock: str, live: Path) -> Path:
    """Where the environment of this lock is, or has to be built. One that somebody has changed since stays as it is,
    and so does the one that the system runs with, whatever is in it."""
    for number in count(1):
        target = folder / (lock if number == 1 else f"{lock}-{number}")
        if is_kept(target):
            return target
        if not (target / MARKER).exists() and live.resolve() != target.resolve():
            return target
    raise AssertionError("not reached")


def build(
    target: Path,
    requirements: str,
    *,
    python: Path,
    cwd: Path,
    say: Callable[[str], None] = command.silent,
    stopped: Callable[[], bool] = command.never,
    groups: Path | None = None,
    timeout: float = 900,
    strict: bool = True,
) -> None:
    """Build the environment at `target`, unless it is kept already. Half-built ones are removed and built anew.

    `cwd`: the checkout that relative lines of the requirements mean. `timeout`: seconds, for each command.
    `strict`: packages that do not fit together are an error; else they are only said (a freeze of what did run).
    Raises EnvironmentFailed, CommandTimeout, CommandStopped.
    """
    if is_kept(target):
        return
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def run(*args: str | Path, check: bool = True) -> command.Result:
        words = [str(each) for each in args]
        return command.run(
            words, cwd=cwd, env=surroundings(), timeout=timeout, say=say, stopped=stopped, groups=groups, check=check
        )

    listed = target.with_name(f"{target.name}.requirements.txt")
    files.write(listed, INCLUDED.sub(rf"\g<1>{cwd}/\g<2>", requirements).encode(), 0o600)
    install(run, target, python, listed)
    if clash := conflicts(run, target):
        if strict:
            raise EnvironmentFailed(
                f"The packages do not fit together: {clash}. The live environment was not touched. Correct the "
                "requirements of the target, or choose a restore point."
            )
        say(f"warning: the packages do not fit together, as they did not when they ran: {clash}\n")
    files.sync(target)
    mark(target)


def install(run: Callable[..., command.Result], target: Path, python: Path, listed: Path) -> None:
    uv, inside = find_uv(), target / "bin" / "python"
    try:
        make_bare(run, target, python, uv)
        if uv:  # copies: a file edited in the live environment must not change in all the others
            run(uv, "pip", "install", "--compile-bytecode", "--link-mode", "copy", "--python", inside, "-r", listed)
        else:
            run(inside, "-m", "pip", "install", "--no-input", "-r", listed)
    except (command.CommandTimeout, command.CommandStopped):
        raise
    except command.CommandFailed as error:
        raise EnvironmentFailed(failure(target, error)) from error


def conflicts(run: Callable[..., command.Result], target: Path) -> str:
    """ "" or which packages do not fit together."""
    uv, inside = find_uv(), target / "bin" / "python"
    checked = run(*([uv, "pip", "check", "--python", inside] if uv else [inside, "-m", "pip", "check"]), check=False)
    if checked.code == 0:
        return ""
    told = [line for line in checked.output.splitlines() if "requires" in line or "has requirement" in line]
    return "; ".join(told) or checked.output.strip()[-300:]


def make_bare(run: Callable[..., command.Result], target: Path, python: Path, uv: str | None) -> None:
    """With Python's own pip and setuptools: those that uv seeds are fetched, and too new for old releases."""
    made = run(python, "-m", "venv", target, check=uv is None)
    if made.code != 0 and uv:  # some distributions leave venv or ensurepip out
        run(uv, "venv", "--clear", "--seed", "--python", python, target)


def failure(target: Path, error: command.CommandFailed) -> str:
    found = CULPRIT.search(error.result.output)
    package = next(filter(None, found.groups()), "") if found else ""
    what = f"The package {package} cannot be had" if package else f"The environment {target} cannot be built"
    said = [line.strip() for line in error.result.output.splitlines() if line.strip()]
    return (
        f"{what}: {said[-1][:300] if said else error}\nThe live environment was not touched. Check that the package "
        "index can be reached and has every version asked for, or choose a restore point whose environment is kept."
    )


def find_uv() -> str | None:
    own = Path(sys.prefix) / "bin" / "uv"
    return str(own) if own.exists() else shutil.which("uv")


def surroundings() -> dict[str, str]:
    """A clean environment, with what tells the installer its index, proxy and certificates."""
    told = {name: value for name, value in os.environ.items() if INSTALLER.fullmatch(name)}
    return {"HOME": str(Path.home()), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **told, **command.clean_environment()}


# --- trying ---------------------------------------------------------------------------------------------------------

IMPORT_EACH = """
import importlib, json, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        print("\\n\\x1f" + json.dumps([name, f"{type(error).__name__}: {error}"[:300]]))
"""


def top_level(environment: Path) -> list[str]:
    """The modules and packages that its distributions put at the top level, without private ones."""
    places = [str(each) for each in environment.glob("lib/python*/site-packages")]
    names: set[str] = set()
    for each in distributions(path=places) if places else ():
        if canonical(each.metadata["Name"] or "") in SEEDED:
            continue
        for file in each.files or ():
            first = file.parts[0]
            if len(file.parts) > 1 and file.name == "__init__.py" and len(file.parts) == 2:
                names.add(first)
            elif len(file.parts) == 1 and first.endswith(".py"):
                names.add(first.removesuffix(".py"))
    return sorted(name for name in names if name.isidentifier() and not name.startswith("_"))


def failing_imports(
    environment: Path, *, cwd: Path, groups: Path | None = None, timeout: float = 120
) -> dict[str, str]:
    """{module: why} of the top-level modules that cannot be imported, all tried in one process."""
    names = top_level(environment)
    python = environment / "bin" / "python"
    if not names or not python.exists():
        return {}
    done = command.run(
        [str(python), "-c", IMPORT_EACH, *names],
        cwd=cwd,
        env=command.clean_environment(path_first=environment),
        timeout=timeout,
        groups=groups,
        check=False,
    )
    found = [json.loads(line[1:]) for line in done.output.splitlines() if line.startswith("\x1f")]
    if done.code != 0 and not found:  # a package that ends the interpreter when it is imported
        return {"an import": f"ended Python with code {done.code}"}
    return dict(found)


# --- switching ------------------------------------------------------------------------------------------------------


def current(live: Path) -> Live:
    """What is there now, in the words that switch_back needs."""
    if live.is_symlink():
        return Live("link", str(live.readlink()))
    return Live("directory" if live.exists() else "missing")


def switch(live: Path, target: Path, set_aside: Path) -> None:
    """Make `live` a link to `target`, in one move; a real directory is set aside first. Doing it twice is fine.

    Raises EnvironmentFailed when something is in the way at `set_aside`: nothing is ever overwritten.
    """
    inside = target.is_relative_to(live.parent)
    wanted = Live("link", str(target.relative_to(live.parent)) if inside else str(target))
    found = current(live)
    if found == wanted:
        return
    if found.kind == "directory":
        move_aside(live, set_aside)
    link(live, wanted.target)


def move_aside(live: Path, set_aside: Path) -> None:
    if set_aside.exists() or set_aside.is_symlink():
        raise EnvironmentFailed(
            f"{live} should be set aside as {set_aside}, but something is there already. Nothing was changed. "
            "Look at it, move it away, and try again."
        )
    set_aside.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    live.rename(set_aside)
    files.sync_directory(set_aside.parent)


def link(live: Path, target: str) -> None:
    """A new link renamed over the old: at no moment is there none."""
    new = live.with_name(f".{live.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(live)
    files.sync_directory(live.parent)


def switch_back(live: Path, found: Live, set_aside: Path) -> None:
    """Restore exactly what `current` told before. Doing it twice is fine. Raises EnvironmentFailed if it is gone."""
    now = current(live)
    if now.kind == "directory" and found.kind != "directory":
        raise EnvironmentFailed(f"{live} is a directory now, where a link was put. It was left as it is. Look at it.")
    if now == found:
        return
    if found.kind == "link":
        link(live, found.target)
        return
    if found.kind == "directory" and not set_aside.is_dir():
        raise EnvironmentFailed(f"The environment set aside as {set_aside} is gone. {live} was left as it is.")
    live.unlink(missing_ok=True)
    if found.kind == "directory":
        set_aside.rename(live)
    files.sync_directory(live.parent)
