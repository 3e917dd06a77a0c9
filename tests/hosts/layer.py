"""What lies over the base tree of every host: what the portal and the sample need of a package index.

It is installed on a host once, as docs/hosts.md says, and kept beside the base tree. Hosts reach no index: what they
install later, they find in WHEELS.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.sample import layout
from tests.hosts.host import PORTAL, PROJECT, PYTHON, STATE, WHEELS, Host

DEBIAN_PYTHON = "3.11"  # of the hosts' suite, bookworm
SEEDS = ("pip", "setuptools", "wheel")  # what uv puts into a new environment
INSTALL = f"""
set -e
python3 -m venv {PORTAL}/.venv
{PYTHON} -m pip install --quiet --no-index --find-links {WHEELS} --require-hashes -r {PORTAL}/requirements.txt
"""


def portal_layer() -> Path:
    """The folder; it is made when requirements have changed, which takes a minute."""
    wanted = [PROJECT / "requirements.txt", *sorted(layout.RELEASES.rglob("requirements.txt")), Path(__file__)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in wanted)).hexdigest()[:12]
    layer = STATE / f"portal-{digest}"
    if not layer.exists():
        for old in STATE.glob("portal-*"):
            shutil.rmtree(old)
        with installed() as tree:
            made = layer.with_name(f".{layer.name}.{os.getpid()}")
            for part in (PORTAL / ".venv", WHEELS):
                target = made / str(part).lstrip("/")
                target.parent.mkdir(parents=True)
                subprocess.run(["cp", "-a", str(tree / str(part).lstrip("/")), str(target)], check=True)
            made.rename(layer)
    return layer


@contextmanager
def installed() -> Iterator[Path]:
    """The tree of a host on which the portal's requirements were installed."""
    builder = Host("builder")
    builder.create()
    try:
        builder.start()
        tree = builder.tree
        with tempfile.TemporaryDirectory(prefix="portal-wheels-") as wheels:
            download(Path(wheels))
            shutil.copytree(wheels, tree / str(WHEELS).lstrip("/"), copy_function=shutil.copyfile)
        builder.write(PORTAL / "requirements.txt", (PROJECT / "requirements.txt").read_text())
        builder.shell(INSTALL)
        yield tree
    finally:
        builder.destroy()


def download(wheels: Path) -> None:
    """Of the portal's requirements all, whatever this Python's markers say: the host's is another one."""
    wheels.chmod(0o755)
    wanted = wheels / "requirements.txt"
    wanted.write_text(re.sub(r" ; [^\\\n]+", " ", (PROJECT / "requirements.txt").read_text()))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--dest", str(wheels)]
    pip += ["--only-binary", ":all:", "--python-version", DEBIAN_PYTHON]
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(wanted)], check=True)
    wanted.unlink()
    for listed in sorted(layout.RELEASES.rglob("requirements.txt")):
        subprocess.run([*pip, "-r", str(listed)], check=True)
    subprocess.run([*pip, *SEEDS], check=True)
