"""How scenarios are written: short modules and entries, and one place to import from."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterproof import SUITES
from clusterproof.reports.results.ledger import entry_beside, load_ledger

MODULES = sorted(SUITES.glob("*/*.py"))
ENTRIES = sorted(SUITES.glob("*/*.toml"))
MODULE_LINES, ENTRY_LINES = 100, 35


def names(path: Path) -> str:
    return str(path.relative_to(SUITES))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_a_module_tells_one_story(module):
    assert lines(module) <= MODULE_LINES, "split it by what a reader looks for"


@pytest.mark.parametrize("entry", ENTRIES, ids=names)
def test_an_entry_fits_a_screen(entry):
    assert lines(entry) <= ENTRY_LINES, "write one range a line"


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_scenarios_import_from_one_place(module):
    own = f"clusterproof.suites.{module.parent.name}."
    others = {
        name
        for name in imported(module)
        if name.partition(".")[0] not in sys.stdlib_module_names | {"pytest"}
        and name != "clusterproof"
        and not name.startswith(own)
    }
    assert not others, f"clusterproof has the names for scenarios, {own} what an area shares"


def test_every_scenario_module_has_its_entry_and_every_entry_a_module():
    ledger = load_ledger().values()
    modules = {module for issue in ledger for module in issue.scenarios}
    watched = {issue.path for issue in ledger if issue.judged_by == "crash-watch"}
    assert modules == {module for module in MODULES if module.name.startswith("test_")}
    assert {entry_beside(module) for module in modules} | watched == set(ENTRIES)
    assert [issue.id for issue in ledger if issue.path in watched] == ["daemon-does-not-crash"]
