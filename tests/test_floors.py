"""The house of DESIGN section 6, held: imports only go down, and a state moves only through advance().

It is a newcomer's map too: FLOORS and ROOMS are the order in which the code is read, from the ground up. Each rule is a
function that reads one file and tells what is wrong with it; below each there is a source that breaks it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["portal.ledger", "incidents", "rollbacks", "portal"]
ROOMS = {  # within a floor; what stands in one line may know each other
    "portal.ledger": ["apps paging roles triggers", "models migrations", "moves", "machines", "admin management"],
    "incidents": [
        "apps prose arrivals on_call calendars",
        "models migrations",
        "sending",
        "delivery",
        "auditor",
        "tasks",
        "notify",
        "actions channels",
        "action_items arriving duty",
        "escalation",
        "reach",
        "postmortems",
        "forms",
        "views views_sources views_on_call",
        "urls admin management",
    ],
    "rollbacks": [
        "apps tools",
        "procedures",
        "models migrations",
        "checklist heartbeat retention watching",
        "keeping notices",
        "runner",
        "tasks",
        "actions",
        "people log_format facts",
        "forms",
        "views",
        "urls admin management",
    ],
    "portal": [],  # the attic knows everybody, itself included
}
NO_DJANGO = ["rollbacks.tools", "rollbacks.procedures"]  # and nothing of the portal's that needs it
SIGNALS = {
    ("rollbacks/tasks.py", "celery.signals.worker_ready")
}  # a worker that comes up sweeps: Celery has no other way
# A step is no machine: its states are the engine's own notes, written under the run's token (runner.py), and set back
# to waiting when a person resumes a held rollback (actions.py). No permission and no ledger row hangs on them.
STEPS = ["rollbacks/runner.py", "rollbacks/actions.py"]
# Nor is a notification: thousands a minute, each moved by a conditional UPDATE, its Attempts are the record.
OUTBOX = ["incidents/delivery.py", "incidents/notify.py"]

Rule = Callable[[str, ast.Module], Iterator[str]]


def sources() -> list[Path]:
    """Every module of the portal's own; the sample's releases are somebody else's code."""
    found = [path for name in ("portal", "incidents", "rollbacks") for path in (ROOT / name).rglob("*.py")]
    return [path for path in sorted(found) if ROOT / "portal" / "sample" / "releases" not in path.parents]


@cache
def house() -> list[tuple[str, ast.Module]]:
    """(path, what it says) of each of them."""
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in sources()]


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def height(name: str) -> tuple[int, int]:
    """Floor and room of a module; (-1, -1) for what is not ours. Raises KeyError for a room that is not on the map."""
    floor = next((number for number, package in enumerate(FLOORS) if under(name, package)), -1)
    if floor < 0:
        return -1, -1
    room = name.removeprefix(FLOORS[floor]).strip(".").split(".")[0]
    rooms = {each: number for number, names in enumerate(ROOMS[FLOORS[floor]]) for each in names.split()}
    return floor, rooms[room] if room and rooms else 0


# --- the rules ------------------------------------------------------------------------------------------------------


def goes_up(path: str, tree: ast.Module) -> Iterator[str]:
    """An import of something above."""
    own = module(path)
    for line, name in imports(tree):
        if name.startswith("."):
            yield f"line {line}: a relative import hides where {name} is"
        elif height(name) > height(own):
            yield f"line {line}: {name} is above {own}"


def knows_django(path: str, tree: ast.Module) -> Iterator[str]:
    """Tools and procedures take plain values, so that they run where no database can be reached."""
    if not any(under(module(path), package) for package in NO_DJANGO):
        return
    for line, name in imports(tree):
        first = name.split(".")[0]
        ours = first in ("portal", "incidents", "rollbacks")
        if first.startswith(("django", "celery")) or (ours and not lives_below_django(name)):
            yield f"line {line}: {name} knows Django"


def lives_below_django(name: str) -> bool:
    return name == "rollbacks" or any(under(name, package) for package in NO_DJANGO)


def imports_late(path: str, tree: ast.Module) -> Iterator[str]:
    """An import inside a function: a knot that was cut with scissors."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield f"line {node.lineno}: an import inside {function.name}()"


def signals(path: str, tree: ast.Module) -> Iterator[str]:
    """Something that happens elsewhere, and that no reader of the action sees."""
    for line, name in imports(tree):
        heard = "signals" in name.split(".") or under(name, "django.dispatch")
        if heard and (path, name) not in SIGNALS:
            yield f"line {line}: {name} is a signal"


def overrides_saving(path: str, tree: ast.Module) -> Iterator[str]:
    """A save() that does more than save. A form's save() is its own affair."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not any(ast.unparse(base).endswith("Form") for base in node.bases):
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and each.name in ("save", "asave", "delete", "adelete"):
                    yield f"line {each.lineno}: {node.name}.{each.name}() is overridden"


def sets_a_state(path: str, tree: ast.Module) -> Iterator[str]:
    """A state that is set past advance(): no permission is asked, and no ledger row is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store | ast.Del):
            if not (path in STEPS and ast.unparse(node.value) == "step"):
                yield f"line {node.lineno}: {ast.unparse(node)} is set"
        elif isinstance(node, ast.Call) and (said := given_state(node)) and not is_no_machine(path, said):
            yield f"line {node.lineno}: {ast.unparse(node.func)}() sets a state: {said}"


def is_no_machine(path: str, said: str) -> bool:
    return (path in STEPS and said.startswith("StepState.")) or (path in OUTBOX and said.startswith("DeliveryState."))


def given_state(call: ast.Call) -> str:
    """ "" or the state that this call would write."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "setattr" and len(call.args) == 3 and ast.unparse(call.args[1]) == "'state'":
        return ast.unparse(call.args[2])
    if name in ("update", "create", "get_or_create", "update_or_create", "aupdate", "acreate"):
        return next((ast.unparse(word.value) for word in call.keywords if word.arg == "state"), "") or defaults(call)
    return ""


def defaults(call: ast.Call) -> str:
    for word in call.keywords:
        if word.arg in ("defaults", "create_defaults") and isinstance(word.value, ast.Dict):
            for key, value in zip(word.value.keys, word.value.values, strict=True):
                if key is not None and ast.unparse(key) == "'state'":
                    return ast.unparse(value)
    return ""


def refreshes(path: str, tree: ast.Module) -> Iterator[str]:
    """refresh_from_db() on a protected state is unsafe (DESIGN 2): fetch the row again, or lock it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("refresh_from_db", "arefresh_from_db"):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def is_called_utils(path: str, tree: ast.Module) -> Iterator[str]:
    """A name that says nothing is where everything ends up."""
    if {"utils", "util", "helpers", "misc", "common"}.intersection(Path(path).with_suffix("").parts):
        yield "the name says nothing about what is in it"


RULES: list[Rule] = [
    goes_up,
    knows_django,
    imports_late,
    signals,
    overrides_saving,
    sets_a_state,
    refreshes,
    is_called_utils,
]


def module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


# --- the house ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_of_the_house(rule: Rule) -> None:
    read = house()
    assert len(read) > 100, "all of the house is read"
    found = [f"{path}, {said}" for path, tree in read for said in rule(path, tree)]
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


def test_tools_and_procedures_run_where_there_is_no_django() -> None:
    """Not only by their own imports: loading all of them loads nothing of Django's."""
    names = [module(path) for path, _ in house()]
    wanted = [name for name in names if any(under(name, package) for package in NO_DJANGO)]
    assert "rollbacks.procedures.code" in wanted
    look = (
        "import sys, importlib as i; [i.import_module(name) for name in sys.argv[1:]]; print('django' in sys.modules)"
    )
    asked = subprocess.run(
        [sys.executable, "-c", look, *wanted], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert asked.stdout == "False\n"


def test_every_exception_is_still_needed() -> None:
    """An exception that nobody uses any more is a hole."""
    for path, name in SIGNALS:
        assert name in {each for _, each in imports(ast.parse((ROOT / path).read_text()))}
    for path in STEPS:
        tree = ast.parse((ROOT / path).read_text())
        assert list(sets_a_state("rollbacks/elsewhere.py", tree)), f"{path} writes no step's state"
    for path in OUTBOX:
        tree = ast.parse((ROOT / path).read_text())
        assert list(sets_a_state("rollbacks/elsewhere.py", tree)), f"{path} writes no notification's state"


# --- each rule can fail ---------------------------------------------------------------------------------------------

BAD = [
    (goes_up, "portal/ledger/models.py", "from incidents.models import Incident", "incidents.models.Incident is above"),
    (goes_up, "incidents/actions.py", "import rollbacks.models", "rollbacks.models is above incidents.actions"),
    (goes_up, "rollbacks/actions.py", "from portal import views", "portal.views is above rollbacks.actions"),
    (goes_up, "rollbacks/models/run.py", "from rollbacks import actions", "rollbacks.actions is above"),
    (goes_up, "rollbacks/tools/git.py", "from rollbacks.procedures import code", "rollbacks.procedures.code is above"),
    (goes_up, "rollbacks/runner.py", "def f():\n    from rollbacks.tasks import hint", "line 2: rollbacks.tasks.hint"),
    (
        goes_up,
        "rollbacks/people.py",
        "if TYPE_CHECKING:\n    from rollbacks.forms import X",
        "rollbacks.forms.X is above",
    ),
    (goes_up, "rollbacks/forms.py", "from .models import System", "a relative import hides where .models.System is"),
    (knows_django, "rollbacks/tools/git.py", "from django.conf import settings", "django.conf.settings knows Django"),
    (knows_django, "rollbacks/procedures/code.py", "import django_fsm", "django_fsm knows Django"),
    (
        knows_django,
        "rollbacks/procedures/code.py",
        "from portal.ledger import roles",
        "portal.ledger.roles knows Django",
    ),
    (knows_django, "rollbacks/tools/git.py", "from celery import Celery", "celery.Celery knows Django"),
    (imports_late, "portal/views.py", "def f():\n    import os", "an import inside f()"),
    (imports_late, "portal/views.py", "class A:\n    async def f(self):\n        from os import path", "inside f()"),
    (signals, "rollbacks/models/run.py", "from django.db.models.signals import post_save", "post_save is a signal"),
    (signals, "incidents/apps.py", "from django.dispatch import receiver", "django.dispatch.receiver is a signal"),
    (signals, "portal/celery.py", "from celery.signals import worker_ready", "celery.signals.worker_ready is a signal"),
    (signals, "rollbacks/tasks.py", "from celery.signals import task_failure", "task_failure is a signal"),
    (
        signals,
        "portal/accounts.py",
        "from django.contrib.auth import signals",
        "django.contrib.auth.signals is a signal",
    ),
    (overrides_saving, "incidents/models/review.py", "class R(M):\n    def save(self): ...", "R.save() is overridden"),
    (overrides_saving, "portal/ledger/models.py", "class R(M):\n    def delete(self): ...", "R.delete() is overridden"),
    (sets_a_state, "rollbacks/actions.py", "rollback.state = 'approved'", "rollback.state is set"),
    (sets_a_state, "rollbacks/runner.py", "point.state, point.tag = 'verified', ''", "point.state is set"),
    (sets_a_state, "rollbacks/views/log.py", "step.state = 'done'", "step.state is set"),
    (sets_a_state, "incidents/actions.py", "setattr(incident, 'state', 'closed')", "setattr() sets a state: 'closed'"),
    (sets_a_state, "rollbacks/runner.py", "rows.update(state=RollbackState.EXPIRED)", "RollbackState.EXPIRED"),
    (sets_a_state, "rollbacks/views/log.py", "steps.update(state=StepState.DONE)", "steps.update() sets a state"),
    (sets_a_state, "rollbacks/actions.py", "Rollback.objects.create(state='approved')", "sets a state: 'approved'"),
    (sets_a_state, "rollbacks/actions.py", "m.update_or_create(pk=1, defaults={'state': 'x'})", "sets a state: 'x'"),
    (refreshes, "rollbacks/runner.py", "rollback.refresh_from_db()", "rollback.refresh_from_db"),
    (is_called_utils, "rollbacks/utils/paths.py", "", "the name says nothing"),
]


@pytest.mark.parametrize(("rule", "path", "source", "said"), BAD, ids=lambda each: str(getattr(each, "__name__", "")))
def test_a_rule_finds_what_breaks_it(rule: Rule, path: str, source: str, said: str) -> None:
    found = list(rule(path, ast.parse(source)))
    assert len(found) == 1
    assert said in found[0]


GOOD = [
    (goes_up, "rollbacks/actions.py", "import os\nfrom rollbacks import runner\nfrom incidents import actions"),
    (goes_up, "portal/views.py", "from rollbacks.views import log\nfrom portal.ledger.models import record"),
    (goes_up, "rollbacks/procedures/switch.py", "import rollbacks\nfrom rollbacks.procedures import base"),
    (knows_django, "rollbacks/runner.py", "from django.db import transaction"),
    (knows_django, "rollbacks/tools/blob.py", "from git import Repo\nfrom rollbacks.tools import files"),
    (imports_late, "portal/views.py", "import os\ndef f(): return os.getcwd()"),
    (signals, "rollbacks/tasks.py", "from celery.signals import worker_ready\nimport signal"),
    (overrides_saving, "portal/accounts.py", "class F(ResetPasswordForm):\n    def save(self): ..."),
    (sets_a_state, "rollbacks/runner.py", "step.state, step.token = StepState.DONE, 1\nif run.state == 'x': ..."),
    (sets_a_state, "rollbacks/actions.py", "steps.filter(state='failed').update(state=StepState.WAITING)"),
    (sets_a_state, "rollbacks/views/log.py", "rows.filter(state='approved').exclude(state='x')"),
]


@pytest.mark.parametrize(("rule", "path", "source"), GOOD, ids=lambda each: str(getattr(each, "__name__", "")))
def test_a_rule_lets_pass_what_is_right(rule: Rule, path: str, source: str) -> None:
    assert list(rule(path, ast.parse(source))) == []
