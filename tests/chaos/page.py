"""The matrix as a section of docs/chaos.md. Each half writes its own and leaves the other's as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import report
from tests.chaos.matrix import Matrix

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
SECTIONS = ["The worker is killed", "The host loses its power"]  # in this order on the page
LEAST = 50  # runs that are worth a page
HEAD = """\
# Cut off

Every procedure is cut off just before and just after the work of every step and every undo, and at random instants of
the run's own length; on its way to its goal, and on its way back (its smoke test fails). Then all is compared from
outside with a run that nobody disturbed: each file of the checkout and its mode, uncommitted changes, index, history,
packages, secrets, artifacts, logs, the restore point, and the release that answers; no process, lock, work tree or
half-made thing may be left; each step was ended once, by the last worker that had it; the ledger has the same moves in
the same order, and its chain holds. Whatever else is a violation, and so is `held`: no such blow is a reason for it.
`RUNS=` takes so many of the runs, of each procedure and kind about as many, `MINUTES=` ends in time; `SEED=` plays the
same cases again. What has fewer than 50 runs is printed only.
"""


def tell(title: str, words: str, matrix: Matrix) -> None:
    """Print the section; of more than a sample, keep it on the page in the place of the one that was there."""
    body = f"{words.strip()}\n\n{told(matrix)}"
    print(f"\n\n{title}\n\n{body}")
    if runs(matrix) < LEAST:
        return
    kept = report.sections(PAGE.read_text()) if PAGE.exists() else {}
    kept[title] = body
    PAGE.write_text("\n".join([HEAD, *(f"## {name}\n\n{kept[name]}" for name in SECTIONS if name in kept)]))


def told(matrix: Matrix) -> str:
    rows: list[list[object]] = []
    for (procedure, kind), tally in sorted(matrix.tallies.items()):
        went = tally.ends["monitoring"] + tally.ends["verified"]
        row = [procedure, kind, tally.runs, went, tally.ends["reverted"], tally.ends["held"], len(tally.violations)]
        rows.append([*row, f"{tally.longest:.1f}"])
    missed = sum(tally.missed for tally in matrix.tallies.values())
    head = ["procedure", "cut off", "runs", "completed", "reverted", "held", "violations", "longest recovery, s"]
    text = f"""{report.table(head, rows)}

{runs(matrix)} of {matrix.possible} runs, {len(matrix.violations)} violations, SEED={matrix.seed}.
In {missed} of them the run had ended before its instant came.
{datetime.now(UTC):%d %B %Y}, {report.machine("PostgreSQL")}.
"""
    return text + "".join(f"\n- {each}" for each in matrix.violations)


def runs(matrix: Matrix) -> int:
    return sum(tally.runs for tally in matrix.tallies.values())
