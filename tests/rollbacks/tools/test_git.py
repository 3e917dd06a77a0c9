"""Git puts a tree back exactly as it was found, and takes no word for an option."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rollbacks.tools import blob, git

CONFIG = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@localhost",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@localhost",
}


def run(root: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")


@pytest.fixture(autouse=True)
def _same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CONFIG.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three commits on main, tags v1 and v2, and an ignored file."""
    root = tmp_path / "system"
    root.mkdir()
    run(root, "init", "--quiet", "--initial-branch=main")
    write(root, ".gitignore", "*.log\n")
    for number in (1, 2, 3):
        write(root, "app.py", f"version = {number}\n")
        write(root, f"only{number}.txt", f"{number}\n")
        run(root, "add", "--all")
        run(root, "commit", "--quiet", "--message", f"Version {number}")
        if number < 3:
            run(root, "tag", f"v{number}")
    write(root, "service.log", "line\n")
    return root


def write(root: Path, name: str, text: str, mode: int = 0o644) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Everything in the work tree: mode and content."""
    found = {}
    for folder, folders, names in os.walk(root):
        if ".git" in folders:
            folders.remove(".git")
        for name in names:
            path = Path(folder, name)
            link = path.is_symlink()
            content = os.readlink(path) if link else path.read_bytes().hex()
            found[str(path.relative_to(root))] = (0 if link else path.stat().st_mode & 0o777, content)
    return found


def make_dirty(root: Path) -> None:
    write(root, "app.py", "staged\n")
    run(root, "add", "app.py")
    write(root, "app.py", "staged, and edited since\n")
    write(root, "only1.txt", "unstaged\n")
    (root / "only2.txt").unlink()
    run(root, "rm", "--quiet", "only3.txt")
    write(root, "new.py", "staged as new\n")
    run(root, "add", "new.py")
    write(root, "untracked dir/ünï\ttäb.txt", "untracked\n")
    write(root, "hotfix.sh", "#!/bin/sh\n", 0o755)
    (root / "link").symlink_to("app.py")
    write(root, "empty", "")


# --- a checkout at rest ---------------------------------------------------------------------------------------------


def test_a_good_checkout(root: Path) -> None:
    git.check_checkout(root)
    assert git.head(root) == git.Head(run(root, "rev-parse", "HEAD"), "main")
    run(root, "checkout", "--quiet", "--detach")
    assert git.head(root).branch == ""
    run(root, "checkout", "--quiet", "-b", "feature/x")
    assert git.head(root).branch == "feature/x"


def test_what_is_no_good_checkout(root: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (root / "sub").mkdir()
    run(tmp_path, "init", "--quiet", "--bare", "bare")
    run(tmp_path, "init", "--quiet", "fresh")
    for path, words in [
        (tmp_path / "none", "does not exist"),
        (tmp_path / "plain", "is no git checkout"),
        (root / "sub", "is inside the checkout"),
        (tmp_path / "bare", "bare repository"),
        (tmp_path / "fresh", "has no commit yet"),
    ]:
        with pytest.raises(git.GitError, match=words):
            git.check_checkout(path)


def test_somebody_elses_checkout_is_refused_with_the_user_to_work_as(root: Path) -> None:
    """Root's worker too: what it writes there would be root's, and the owner's next deployment fails."""
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)
    else:
        root = Path("/usr")
    owner, own = git.user_name(root.stat().st_uid), git.user_name(os.geteuid())
    with pytest.raises(git.GitError) as refused:
        git.check_checkout(root)
    assert str(refused.value).startswith(f"{root} belongs to {owner}, and the worker runs as {own}: ")
    assert str(refused.value).endswith(f"Nothing was changed. Run this host's worker as {owner}.")


def test_a_merge_has_to_be_finished_first(root: Path) -> None:
    run(root, "checkout", "--quiet", "-b", "other", "v1")
    write(root, "app.py", "version = other\n")
    run(root, "commit", "--quiet", "--all", "--message", "Other")
    subprocess.run(["git", "merge", "main"], cwd=root, check=False, capture_output=True)
    with pytest.raises(git.GitError, match="middle of a merge"):
        git.check_checkout(root)


# --- words that came from a person ----------------------------------------------------------------------------------


def test_refs_are_resolved(root: Path) -> None:
    expected = run(root, "rev-parse", "v1")
    git.tag(root, "annotated", expected, "a note")
    for ref in ("v1", expected, expected[:8], "annotated"):
        assert git.resolve(root, ref) == expected
    assert git.resolve(root, "main") == run(root, "rev-parse", "main")


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "-",
        "--all",
        "-x",
        "--output=/tmp/pwned",
        "v1..v2",
        "v1 v2",
        "v1;id",
        "HEAD^",
        "HEAD@{1}",
        ":/Version",
        "v1\n",
        "a" * 300,
    ],
)
def test_what_looks_like_an_option_is_no_ref(root: Path, ref: str) -> None:
    with pytest.raises(git.UnknownRef):
        git.resolve(root, ref)


def test_an_unknown_ref_names_near_ones(root: Path) -> None:
    with pytest.raises(git.UnknownRef, match=r"Did you mean v[12]"):
        git.resolve(root, "v11")


def test_an_option_is_never_taken_for_one(root: Path, tmp_path: Path) -> None:
    evil = f"--output={tmp_path / 'pwned'}"
    for call in (
        lambda: git.commit(root, evil),
        lambda: git.between(root, evil, "HEAD"),
        lambda: git.changed_files(root, evil, "HEAD"),
        lambda: git.checkout(root, "--orphan=x"),
        lambda: git.tag(root, "--force", "HEAD", "x"),
        lambda: git.add_worktree(root, tmp_path / "w", "--orphan"),
    ):
        with pytest.raises((git.GitError, IndexError)):
            call()
    assert not (tmp_path / "pwned").exists()
    assert blob.content(root, evil, "app.py") is None


# --- reading --------------------------------------------------------------------------------------------------------


def test_commits(root: Path) -> None:
    run(root, "commit", "--quiet", "--allow-empty", "--message", "odd \x1f and \x1e | in “it”\n\nbody")
    found = git.log(root, 2)
    assert [each.subject for each in found] == ["odd \x1f and \x1e | in “it”", "Version 3"]
    assert found[0].sha == run(root, "rev-parse", "HEAD")
    assert (found[0].author, found[0].at.tzinfo is not None) == ("Ann", True)
    assert git.commit(root, run(root, "rev-parse", "v1")).subject == "Version 1"
    assert [each.subject for each in git.between(root, "v1", "main~1")] == ["Version 3", "Version 2"]
    assert git.between(root, "main", "v1") == []


def test_changed_files(root: Path) -> None:
    write(root, "-odd name\t.txt", "x\n")
    (root / "blob.bin").write_bytes(b"\0\1")
    run(root, "add", "--all")
    run(root, "commit", "--quiet", "--message", "Odd")
    assert git.changed_files(root, "v2", "main") == [
        git.FileChange("-odd name\t.txt", "added", 1, 0),
        git.FileChange("app.py", "modified", 1, 1),
        git.FileChange("blob.bin", "added", -1, -1),
        git.FileChange("only3.txt", "added", 1, 0),
    ]
    assert git.changed_files(root, "main", "main") == []


def test_a_file_in_a_commit(root: Path) -> None:
    (root / "link").symlink_to("app.py")
    run(root, "add", "--all")
    run(root, "commit", "--quiet", "--message", "Link")
    assert blob.content(root, "v1", "app.py") == b"version = 1\n"
    for commit, path in [("v1", "only3.txt"), ("v1", "none/x"), ("f" * 40, "app.py"), ("nothing", "app.py")]:
        assert blob.content(root, commit, path) is None
    write(root, "deep/x", "x")
    run(root, "add", "--all")
    run(root, "commit", "--quiet", "--message", "Deep")
    assert blob.content(root, "main", "deep") is None


def test_uncommitted(root: Path) -> None:
    assert git.uncommitted(root) == []
    make_dirty(root)
    assert {(each.path, each.kind) for each in git.uncommitted(root)} == {
        ("app.py", "modified"),
        ("only1.txt", "modified"),
        ("only2.txt", "deleted"),
        ("only3.txt", "deleted"),
        ("new.py", "added"),
        ("untracked dir/ünï\ttäb.txt", "untracked"),
        ("hotfix.sh", "untracked"),
        ("link", "untracked"),
        ("empty", "untracked"),
    }


def test_the_state_of_the_tree_changes_with_all_that_counts(root: Path) -> None:
    def changes(name: str, text: str, mode: int = 0o644) -> bool:
        before = git.tree_state(root)
        write(root, name, text, mode)
        return git.tree_state(root) != before

    index = git.read_index(root)
    assert not changes("service.log", "ignored\n")
    assert not changes("app.py", "version = 3\n")
    assert changes("app.py", "version = 4\n")
    assert changes("app.py", "version = 4\n", 0o755)
    assert changes("new.txt", "x")
    assert git.read_index(root) == index
    before = git.tree_state(root, ["app.py"])
    write(root, "app.py", "other\n")
    assert git.tree_state(root, ["app.py"]) == before
    run(root, "checkout", "--quiet", "-b", "other")
    assert git.tree_state(root, ["app.py"]) != before


def test_tags(root: Path) -> None:
    run(root, "tag", "--annotate", "--message", "x", "backup-1", "v1")
    found = {name: commit for name, commit, _ in git.tags(root)}
    assert found == {"v1": run(root, "rev-parse", "v1"), "v2": run(root, "rev-parse", "v2"), "backup-1": found["v1"]}
    assert [name for name, _, _ in git.tags(root, "backup-*")] == ["backup-1"]
    assert git.tags(root, "none-*") == []


# --- writing --------------------------------------------------------------------------------------------------------


def test_a_tag_is_made_once_and_never_moved(root: Path) -> None:
    one, two = run(root, "rev-parse", "v1"), run(root, "rev-parse", "v2")
    git.tag(root, "good", one, "note")
    git.tag(root, "good", one, "again")
    with pytest.raises(git.GitError, match="exists already"):
        git.tag(root, "good", two, "note")
    assert git.tagged(root, "good") == one
    git.delete_tag(root, "good")
    git.delete_tag(root, "good")
    assert git.tagged(root, "good") == ""


def test_tags_are_pushed_where_there_is_somewhere_to_push_to(root: Path, tmp_path: Path) -> None:
    assert git.push_tag(root, "v1") is False
    run(tmp_path, "init", "--quiet", "--bare", "remote.git")
    run(root, "remote", "add", "origin", str(tmp_path / "remote.git"))
    assert git.push_tag(root, "v1") is True
    assert run(tmp_path / "remote.git", "tag") == "v1"
    run(root, "remote", "set-url", "origin", str(tmp_path / "gone.git"))
    with pytest.raises(git.GitError, match="git push failed"):
        git.push_tag(root, "v1")


def test_no_hook_runs(root: Path, tmp_path: Path) -> None:
    for name in ("post-checkout", "pre-push", "reference-transaction", "post-index-change"):
        write(root, f".git/hooks/{name}", f"#!/bin/sh\ntouch {tmp_path}/hooked\n", 0o755)
    git.snapshot(root, "failed-1", "as found")
    git.checkout(root, git.resolve(root, "v1"))
    git.add_worktree(root, tmp_path / "w", git.resolve(root, "v2"))
    assert not (tmp_path / "hooked").exists()


def test_excluded_files_are_not_seen(root: Path) -> None:
    write(root, ".rollback/fence", "x")
    for _ in range(2):
        git.exclude(root, "/.rollback/")
    assert git.uncommitted(root) == []
    assert (root / ".git/info/exclude").read_text().count("/.rollback/") == 1


@pytest.mark.parametrize("branch", ["main", ""])
def test_a_dirty_tree_comes_back_exactly(root: Path, branch: str) -> None:
    if not branch:
        run(root, "checkout", "--quiet", "--detach")
    make_dirty(root)
    found, index, before = git.head(root), git.read_index(root), tree(root)
    status, state = run(root, "status", "--porcelain"), git.tree_state(root)

    snapshot = git.snapshot(root, "failed-1", "as found")
    assert (tree(root), git.read_index(root), git.head(root)) == (before, index, found)
    assert git.tagged(root, "failed-1") == snapshot != found.commit
    assert git.snapshot(root, "failed-1", "again") == snapshot

    git.checkout(root, git.resolve(root, "v1"))
    assert (root / "app.py").read_text() == "version = 1\n"
    assert git.head(root) == git.Head(git.resolve(root, "v1"), "")

    for _ in range(2):
        git.put_back(root, snapshot, found, index)
        assert tree(root) == before
        assert git.head(root) == found == git.Head(found.commit, branch)
        assert (run(root, "status", "--porcelain"), git.tree_state(root)) == (status, state)


def test_an_edit_in_the_same_second_as_the_last_commit_is_seen(root: Path) -> None:
    """Of the same length, too: git then has only the index's age to tell that it has to read the file."""
    write(root, "app.py", "version = 4\n")
    run(root, "commit", "--quiet", "--all", "--message", "Four")
    before = git.tree_state(root)
    write(root, "app.py", "version = 5\n")
    assert git.tree_state(root) != before
    snapshot = git.snapshot(root, "failed-1", "as found")
    assert run(root, "show", f"{snapshot}:app.py") == "version = 5"


def test_an_untracked_file_that_the_target_has_too_comes_back(root: Path) -> None:
    run(root, "rm", "--quiet", "only1.txt")
    run(root, "commit", "--quiet", "--message", "Gone")
    write(root, "only1.txt", "mine\n")
    found, index = git.head(root), git.read_index(root)
    snapshot = git.snapshot(root, "failed-1", "as found")
    git.checkout(root, git.resolve(root, "v1"))
    assert (root / "only1.txt").read_text() == "1\n"
    git.put_back(root, snapshot, found, index)
    assert (root / "only1.txt").read_text() == "mine\n"
    assert [(each.path, each.kind) for each in git.uncommitted(root)] == [("only1.txt", "untracked")]


def test_a_clean_tree_needs_no_commit_of_its_own(root: Path) -> None:
    assert git.snapshot(root, "failed-1", "as found") == git.head(root).commit


def test_a_branch_that_moved_is_not_put_back(root: Path) -> None:
    found, index = git.head(root), git.read_index(root)
    snapshot = git.snapshot(root, "failed-1", "as found")
    git.checkout(root, git.resolve(root, "v1"))
    run(root, "branch", "--force", "main", "v2")
    with pytest.raises(git.GitError, match="no longer names"):
        git.put_back(root, snapshot, found, index)
    with pytest.raises(git.GitError, match="no longer names"):
        git.checkout(root, found.commit, "main")


def test_a_branch_is_checked_out_by_its_name(root: Path) -> None:
    commit = git.resolve(root, "main")
    git.checkout(root, git.resolve(root, "v1"))
    git.checkout(root, commit, "main")
    assert git.head(root) == git.Head(commit, "main")


def test_worktrees_are_made_anew_whatever_is_there(root: Path, tmp_path: Path) -> None:
    path, commit = tmp_path / "stage/w", git.resolve(root, "v1")
    for _ in range(2):
        git.add_worktree(root, path, commit)
        assert (path / "app.py").read_text() == "version = 1\n"
        write(path, "left.txt", "by a killed worker")
    git.remove_worktree(root, path)
    git.remove_worktree(root, path)
    assert not path.exists()
    write(path, "plain/left.txt", "git does not know it")
    (path / "out").symlink_to(root)
    git.add_worktree(root, path, commit)
    assert not (path / "plain").exists()
    assert (root / "app.py").exists()
    assert git.head(root).branch == "main"


# --- locks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "packed-refs.lock", "refs/tags/kept.lock"])
def test_the_lock_of_a_killed_git_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch, lock: str) -> None:
    monkeypatch.setattr(git, "LOCK_PATIENCE", 0.05)
    (root / ".git" / lock).touch()
    git.checkout(root, git.resolve(root, "v1"))
    assert (root / "app.py").read_text() == "version = 1\n"
    (root / ".git" / lock).touch()
    git.tag(root, "kept", git.resolve(root, "v1"), "What is there after the power cut")
    assert git.tagged(root, "kept") == git.resolve(root, "v1")
    run(root, "pack-refs", "--all")


def test_objects_that_a_power_cut_left_empty_are_written_anew(root: Path) -> None:
    write(root, "new.txt", "the same content as before the cut\n")
    name = run(root, "hash-object", "-w", "new.txt")
    left = root / ".git/objects" / name[:2] / name[2:]
    left.chmod(0o644)
    left.write_bytes(b"")
    made = git.snapshot(root, "failed-1", "as found")
    assert run(root, "show", f"{made}:new.txt") == "the same content as before the cut"
    run(root, "fsck", "--full")


def test_a_look_cut_short_leaves_nothing_in_the_checkout(root: Path) -> None:
    before = sorted((root / ".git").iterdir())
    with git.spare_index(root) as env:
        git.add_all(root, env)
        assert sorted((root / ".git").iterdir()) == before


def test_a_look_does_not_write_the_index(root: Path) -> None:
    """It would lock it, and a host that loses its power meanwhile keep the lock."""
    (root / "app.py").touch()
    before = (root / ".git/index").stat().st_ino
    assert git.uncommitted(root) == []
    assert not git.differs(root, git.head(root).commit)
    git.tree_state(root)
    assert (root / ".git/index").stat().st_ino == before


def test_the_lock_of_a_git_at_work_is_respected(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "LOCK_PATIENCE", 0.05)
    (tmp_path / "seen").symlink_to(root)  # also when root is named by a link
    (root / ".git/index.lock").touch()
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=root, stdin=subprocess.PIPE) as busy:
        with pytest.raises(git.GitError, match="at work"):
            git.checkout(tmp_path / "seen", git.resolve(root, "v1"))
        busy.kill()
    assert (root / "app.py").read_text() == "version = 3\n"


def test_it_is_quick(root: Path) -> None:
    began = time.perf_counter()
    git.checkout(root, git.resolve(root, "v1"))
    took = time.perf_counter() - began
    print(f"checkout: {took * 1000:.0f} ms", file=sys.stderr)
    assert took < 1


# --- single paths ---------------------------------------------------------------------------------------------------


def test_paths_are_put_as_they_were_and_nothing_else_is_touched(root: Path) -> None:
    write(root, "app.py", "staged\n")
    run(root, "add", "app.py")
    write(root, "part/only [1].txt", "new\n")
    run(root, "add", "part")
    run(root, "commit", "--quiet", "--message", "Part")
    write(root, "app.py", "edited\n")
    git.put_paths(root, "v2", ["only1.txt", "only3.txt", "part"])
    assert run(root, "status", "--porcelain").splitlines() == [" M app.py", "D  only3.txt", 'D  "part/only [1].txt"']
    assert not (root / "part").exists()
    git.put_paths(root, "HEAD", ["only3.txt", "part"])
    assert run(root, "status", "--porcelain") == " M app.py"
    assert (root / "part/only [1].txt").read_text() == "new\n"


def test_more_paths_than_a_command_line_can_hold(root: Path) -> None:
    """2,500 paths of 900 characters would be more than 2 MB of words."""
    folder = "/".join(["part", *["long" * 55] * 4])
    many = [f"{folder}/{number:04}" for number in range(2_500)]
    blob = run(root, "hash-object", "-w", "app.py")
    lines = "".join(f"100644 {blob}\t{name}\n" for name in many)
    env = {**os.environ, "GIT_INDEX_FILE": str(root.parent / "index")}
    subprocess.run(["git", "update-index", "--index-info"], cwd=root, env=env, input=lines, text=True, check=True)
    done = subprocess.run(["git", "write-tree"], cwd=root, env=env, capture_output=True, text=True, check=True)
    made = run(root, "commit-tree", done.stdout.strip(), "-m", "Many")
    git.put_paths(root, made, ["part"])
    assert len(list((root / folder).iterdir())) == len(many)
    parent = git.head(root).commit
    again = git.commit_paths(root, parent, made, ["part"], "Many")
    assert len(git.changed_files(root, parent, again)) == len(many)
    git.put_paths(root, "HEAD", ["part"])
    assert not (root / "part").exists()


def test_a_commit_of_paths_leaves_index_tree_and_branch(root: Path) -> None:
    make_dirty(root)
    before, index, found = tree(root), git.read_index(root), git.head(root)
    made = git.commit_paths(root, found.commit, "v1", ["app.py", "only3.txt", "nowhere"], "Restore it")
    assert (tree(root), git.read_index(root), git.head(root)) == (before, index, found)
    assert run(root, "show", "--format=%s %an", "--name-status", made).split("\n") == [
        "Restore it Rollback portal",
        "",
        "M\tapp.py",
        "D\tonly3.txt",
    ]
    assert git.commit_paths(root, made, "v1", ["app.py"], "Again") == made, "nothing to commit"


def test_head_and_branch_are_advanced_from_where_they_were_found_only(root: Path) -> None:
    found = git.head(root)
    made = git.commit_paths(root, found.commit, "v1", ["app.py"], "Restore it")
    git.advance(root, found.commit, made)
    git.advance(root, found.commit, made)
    assert (run(root, "rev-parse", "main"), git.head(root).branch) == (made, "main")
    run(root, "commit", "--quiet", "--allow-empty", "--message", "Theirs")
    theirs = git.head(root).commit
    with pytest.raises(
        git.GitError, match=rf"is at {theirs[:10]}, and no longer at {found.commit[:10]}.*left as it is"
    ):
        git.advance(root, found.commit, made)
    assert git.head(root).commit == theirs


def test_a_branch_that_was_advanced_is_moved_back_and_one_that_others_moved_is_not(root: Path) -> None:
    found, index = git.head(root), git.read_index(root)
    before = tree(root)
    made = git.commit_paths(root, found.commit, "v1", ["app.py"], "Restore it")
    git.put_paths(root, "v1", ["app.py"])
    git.advance(root, found.commit, made)
    git.put_back(root, found.commit, found, index, advanced=made)
    assert (tree(root), git.head(root), run(root, "status", "--porcelain")) == (before, found, "")
    write(root, "app.py", "theirs\n")
    run(root, "commit", "--quiet", "--all", "--message", "Theirs")
    theirs = tree(root), git.head(root)
    with pytest.raises(git.GitError, match=r"The branch main no longer names .*somebody has moved it"):
        git.put_back(root, found.commit, found, index, advanced=made)
    assert (tree(root), git.head(root)) == theirs, "it is looked at before anything is touched"


def test_whether_a_tracked_file_differs(root: Path) -> None:
    assert not git.differs(root, "HEAD")
    write(root, "untracked.txt", "x")
    assert not git.differs(root, "HEAD")
    write(root, "app.py", "")
    assert git.differs(root, "HEAD")
    assert git.differs(root, "HEAD", only=["app.py"])
    assert not git.differs(root, "HEAD", only=["only1.txt"])
    assert not git.differs(root, "HEAD", ignoring=["app.py"])


def test_submodules_are_told_by_their_paths(root: Path) -> None:
    assert git.submodules(root, "HEAD") == []
    run(root, "update-index", "--add", "--cacheinfo", f"160000,{git.head(root).commit},libs/a b")
    run(root, "commit", "--quiet", "--message", "A module")
    assert git.submodules(root, git.head(root).commit) == ["libs/a b"]


# --- from nothing ---------------------------------------------------------------------------------------------------


def test_a_repository_is_begun_and_gets_the_history_of_a_tag(root: Path, tmp_path: Path) -> None:
    bare, new = tmp_path / "kept/repository.git", tmp_path / "new"
    git.mirror(root, bare, "v2")
    git.mirror(root, bare, "v2")
    new.mkdir()
    git.begin(new)
    began = git.head(new)
    git.begin(new)
    assert (git.head(new), run(new, "ls-files"), began.branch) == (began, "", "")
    git.fetch_tag(new, str(bare), "v2")
    assert run(new, "log", "--format=%s", "v2") == "Version 2\nVersion 1"
    assert git.tagged(bare, "v1") == "", "no more than was asked for"
    with pytest.raises(git.GitError, match="v9"):
        git.fetch_tag(new, str(bare), "v9")


def test_a_mirror_follows_a_tag_that_was_made_again(root: Path, tmp_path: Path) -> None:
    bare = tmp_path / "repository.git"
    git.mirror(root, bare, "v1")
    run(root, "tag", "--force", "v1", "v2")
    git.mirror(root, bare, "v1")
    assert git.tagged(bare, "v1") == git.tagged(root, "v2")


def test_a_mirror_of_a_shallow_clone_has_what_that_has_and_grows_with_it(root: Path, tmp_path: Path) -> None:
    """Whatever is tagged, in whatever order: what is there can be fetched, and nothing that it needs is missing."""
    for number in (3, 4, 5):
        (root / "app.py").write_text(f"VERSION = {number}\n")
        run(root, "commit", "--quiet", "--all", "--message", f"Version {number}")
    shallow, bare = tmp_path / "shallow", tmp_path / "repository.git"
    run(tmp_path, "clone", "-q", "--depth", "2", f"file://{root}", str(shallow))

    def kept(name: str, commit: str) -> list[str]:
        run(shallow, "tag", name, commit)
        git.mirror(shallow, bare, name)
        new = tmp_path / f"new-{name}"
        new.mkdir()
        git.begin(new)
        git.fetch_tag(new, str(bare), name)
        run(new, "rev-list", "--objects", name)  # reads all of it
        return run(new, "log", "--format=%s", name).replace("Version ", "").splitlines()

    assert git.is_shallow(shallow)
    assert kept("b1", "HEAD") == ["5", "4"]
    assert kept("b2", "HEAD~1") == ["4"]
    run(shallow, "fetch", "-q", "--depth", "3")
    assert kept("b3", "HEAD~2") == ["3"], "older than what was kept"
    run(shallow, "fetch", "-q", "--unshallow")
    assert kept("b4", "v2") == ["2", "1"]
    assert len(run(bare, "log", "--format=%s", "b1").splitlines()) == 6
    run(bare, "fsck", "--strict")


def test_an_address_keeps_no_password(root: Path) -> None:
    assert git.without_password("https://me:secret@example.org/a.git") == "https://example.org/a.git"
    assert git.without_password("/srv/git/a@b.git") == "/srv/git/a@b.git"
    assert git.remote(root) == ""
    git.add_remote(root, "/srv/a.git")
    git.add_remote(root, "/srv/b.git")
    assert git.remote(root) == "/srv/a.git", "one that is there stays"
