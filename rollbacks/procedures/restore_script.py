"""restore.sh: the way back for the night when portal, database and broker are gone. It needs git, tar and Python."""

from __future__ import annotations

import shlex

from rollbacks.tools import listing, service
from rollbacks.tools.manifest import Manifest

SCRIPT = r"""#!/bin/bash
# Brings {name} back to restore point {tag}, without the portal.
#
#   restore.sh [--code-only] [ROOT]     ROOT is the checkout ({root} unless given), or where it shall be:
#                                       nothing may be there then. --code-only leaves the artifacts as they are
#   restore.sh --check                  only reads the restore point back
#
# What it does: checks every hash, builds the virtual environment and unpacks the artifacts beside the live ones, keeps
# the uncommitted changes of the checkout in a git stash, stops the service, checks the tag out, switches environment and
# artifacts in, restores configuration and secrets (what was there is set aside), starts the service and asks for its
# health.
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
tag={tag_q}
name={name_q}
code_only=
check_only=
root={root_q}
while [ $# -gt 0 ]; do
  case $1 in
    --code-only) code_only=1 ;;
    --check) check_only=1 ;;
    -h|--help) sed -n '2,11p' "$0"; exit 0 ;;
    -*) echo "unknown option $1: see --help" >&2; exit 2 ;;
    *) root=$1 ;;
  esac
  shift
done

for command in git python3 tar {manager}; do
  command -v "$command" >/dev/null || [ -n "$check_only" ] || {{
    echo "$command is not on the PATH, and this needs it. Nothing was changed. Install it, or add its directory: \
PATH=/where/it/is:\$PATH $0" >&2; exit 1; }}
done
artifacts() {{ python3 -I -S - "$here/artifacts" "$@" <<'PYTHON'
{reader}PYTHON
}}

echo "1. Reading the restore point back: $here"
python3 - "$here" <<'PYTHON'
import hashlib, json, pathlib, sys
here = pathlib.Path(sys.argv[1])
listed = json.loads((here / "manifest.json").read_text())["files"]
wrong = [name for name, sha in listed.items()
         if not (here / name).is_file() or hashlib.sha256((here / name).read_bytes()).hexdigest() != sha]
if wrong:
    sys.exit("Broken, nothing was changed: " + ", ".join(wrong))
print("   %d files, every hash is right" % len(listed))
PYTHON
[ ! -d "$here/artifacts" ] || artifacts
[ ! -d "$here/artifacts" ] || echo "   and the artifacts"
[ -z "$check_only" ] || exit 0
history=$here/../repository.git   # of the restore points' own: every tag is in it
if [ -d "$history" ] && {{ [ ! -e "$root" ] || [ -z "$(ls -A "$root")" ]; }}; then
  echo "   nothing is in $root: its history is brought from $history"
  git clone --quiet --origin backups --branch "$tag" -c advice.detachedHead=false "$history" "$root"
fi
git -C "$root" rev-parse --git-dir >/dev/null 2>&1 || {{
  echo "$root is no git checkout. Nothing was changed. Clone the system there, then run this again." >&2; exit 1; }}
root=$(cd "$root" && pwd)
known() {{ git -C "$root" rev-parse --verify --quiet "refs/tags/$tag^{{commit}}" >/dev/null; }}
for source in "$history" origin; do
  known || git -C "$root" fetch --quiet --update-shallow "$source" "refs/tags/$tag:refs/tags/$tag" 2>/dev/null || true
done
known || {{
  echo "The tag $tag is not in $root. Nothing was changed. Fetch it from the remote, then run this again." >&2; exit 1; }}
aside=$root/.rollback/by-hand-$(date +%Y%m%d-%H%M%S)
mkdir -p "$aside"

echo "2. Building the environment and unpacking the artifacts beside the live ones (the service still runs)"
new=
if [ -s "$here/requirements.backup.txt" ]; then
  new=$aside/environment
  python=$(readlink -e "$root"/{environment_dir}/bin/python || command -v python3)
  "$python" -m venv "$new"
  (cd "$root" && "$new/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.backup.txt")
fi
unpacked=
if [ -z "$code_only" ] && [ -d "$here/artifacts" ]; then
  unpacked=$aside/unpacked
  artifacts "$unpacked"
elif [ -z "$code_only" ] && [ -f "$here/artifacts.tar.gz" ]; then
  unpacked=$aside/unpacked
  mkdir "$unpacked"
  tar -xzf "$here/artifacts.tar.gz" -C "$unpacked"
fi

echo "3. Stopping $name"
{stop}
restart() {{
  {start}
}}
failed() {{
  echo "Not restored. {name} is started again; what was there before is in git stash (if uncommitted) and in $aside" >&2
  restart
}}
trap failed EXIT   # whatever goes wrong below, the service is started again

echo "4. Checking out $tag"
ignored=$(git -C "$root" config --path core.excludesFile || echo "${{HOME:-}}/.config/git/ignore")
[ ! -r "$ignored" ] || cat "$ignored" > "$aside/hidden"
printf '%s\n' {hidden} >> "$aside/hidden"   # what git does not track there stays where it is
git -C "$root" -c core.excludesFile="$aside/hidden" stash push --quiet --include-untracked \
  --message "as found by restore.sh $tag"
git -C "$root" checkout --quiet --force --detach "$tag"

echo "5. Switching the environment in"
if [ -n "$new" ]; then
  if [ -e "$root"/{environment_dir} ] || [ -L "$root"/{environment_dir} ]; then
    mv "$root"/{environment_dir} "$aside/environment-as-found"
  fi
  mkdir -p "$(dirname "$root"/{environment_dir})"
  ln -s "$new" "$root"/{environment_dir}
else
  echo "   the restore point names no packages: the environment stays as it is"
fi

echo "6. Restoring configuration and secrets (what was there is in $aside)"
for part in config secrets; do
  [ -d "$here/$part" ] || continue
  (cd "$here/$part" && find . -type f -print0) | while IFS= read -r -d '' file; do
    if [ -e "$root/$file" ]; then
      mkdir -p "$aside/$part/$(dirname "$file")"
      cp -a "$root/$file" "$aside/$part/$file"
    fi
    mkdir -p "$root/$(dirname "$file")"
    cp -a "$here/$part/$file" "$root/$file"
  done
done

if [ -n "$unpacked" ]; then
  echo "7. Switching the artifacts in (what was there is in $aside)"
  for part in {artifacts}; do
    [ -e "$unpacked/$part" ] || continue   # there was none when the restore point was made
    if [ -e "$root/$part" ] || [ -L "$root/$part" ]; then
      [ ! -L "$root/$part" ] || echo "   $part was a link to $(readlink "$root/$part"), and is no link any more"
      mkdir -p "$aside/$(dirname "$part")"
      mv "$root/$part" "$aside/$part"
    fi
    mkdir -p "$(dirname "$root/$part")"
    mv "$unpacked/$part" "$root/$part"
  done
fi
mkdir -p {directories}

echo "8. Starting $name"
trap - EXIT
restart
{health}
echo "Done: $name is at $tag. What was there before is in git stash and in $aside"
"""

HEALTH = r"""python3 - {url} <<'PYTHON'
import sys, time, urllib.request
for attempt in range(60):
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=2) as answer:
            print("   healthy: %d" % answer.status)
            break
    except OSError as error:
        last = error
        time.sleep(0.5)
else:
    sys.exit("Not healthy after 30 s: %s" % last)
PYTHON"""


def script(manifest: Manifest, tag: str) -> str:
    """The text of restore.sh for one restore point."""
    manager = service.for_service(manifest.service)
    stop = manager.by_hand("stop")
    hidden = (manifest.state_dir.name, manifest.environment_dir, *manifest.unwatched)
    return SCRIPT.format(
        name=manifest.name,
        tag=tag,
        root=manifest.root,
        name_q=shlex.quote(manifest.name),
        tag_q=shlex.quote(tag),
        root_q=shlex.quote(str(manifest.root)),
        environment_dir=shlex.quote(manifest.environment_dir),
        hidden=" ".join(shlex.quote(f"/{name}") for name in hidden),
        stop=f"{stop} || true",
        manager=shlex.split(stop)[0],
        reader=listing.READER,
        start=manager.by_hand("start"),
        artifacts=" ".join(shlex.quote(name) for name in manifest.artifacts),
        directories=" ".join(f'"$root"/{shlex.quote(name)}' for name in (*manifest.logs, *manifest.artifacts))
        or '"$aside"',
        health=HEALTH.format(url=shlex.quote(manifest.health_url)) if manifest.health_url else "",
    )
