"""How scenarios are written: short modules and entries, and one place to import from."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterproof import SUITES
from clusterproof.reports.matrix.proving import contradictions, wrong_claims
from clusterproof.reports.results.ledger import entry_beside, load_ledger
from clusterproof.reports.results.proofs import SUFFIX, proofs_file, read_proofs
from clusterproof.suites.upgrade import upgraded_daemon

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


@pytest.mark.parametrize("issue", load_ledger().values(), ids=lambda issue: issue.id)
def test_what_an_entry_claims_is_borne_out_by_its_proofs(issue):
    proofs = read_proofs(issue)
    assert contradictions(issue, proofs) == []
    assert wrong_claims(issue, proofs) == []


def test_every_file_of_proofs_has_its_entry():
    assert {*SUITES.rglob(f"*{SUFFIX}")} <= {proofs_file(issue) for issue in load_ledger().values()}


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ("Failed to initialize global database: This cluster member's version is behind", False),
        ("Error creating database: schema version '43' is more recent than expected '42'", False),
        ('Failed applying patch \\"storage_set_volume_uuid_v2\\": database is locked', True),
    ],
)
def test_a_refusal_because_of_a_schema_breaks_no_promise(error, found):
    line = f'm3 lxd[70]: level=error msg="Failed to start the daemon" err="{error}"\n'
    assert bool(load_ledger()["schema-downgrade"].symptom.find({"log": line})) is found


# LXD 5.21.3, built by Go 1.26: what is inlined there stands between the panic and who called.
PANIC = """\
m2 lxd[71]: panic: runtime error: invalid memory address or nil pointer dereference
m2 lxd[71]: [signal SIGSEGV: segmentation violation code=0x1 addr=0x20 pc=0xe5ad74]
m2 lxd[71]: goroutine 133 [running]:
m2 lxd[71]: sync/atomic.(*Int32).Add(...)
m2 lxd[71]:         sync/atomic/type.go:94
m2 lxd[71]: sync.(*RWMutex).RLock(...)
m2 lxd[71]:         sync/rwmutex.go:72
m2 lxd[71]: github.com/canonical/lxd/lxd/db.(*Cluster).Transaction(0x20a28bd788c0?)
m2 lxd[71]:         github.com/canonical/lxd/lxd/db/db.go:335 +0x34
m2 lxd[71]: github.com/canonical/lxd/lxd/cluster.(*Gateway).heartbeat(0x20a28bd788c0, 0x2)
m2 lxd[71]:         github.com/canonical/lxd/lxd/cluster/heartbeat.go:332 +0x3d9
"""
LOCKED = (
    'm1 lxd[69]: level=error msg="Failed to start the daemon" '
    'err="Failed applying patch \\"storage_unset_invalid_block_settings_v2\\": database is locked"\n'
)


@pytest.mark.parametrize(
    ("log", "finding"),
    [(PANIC, "upgrade-waiting-leader-panics"), (LOCKED, "lxd-upgrade-patch-locked")],
)
def test_an_end_that_a_finding_describes_is_known(log, finding):
    (end,) = upgraded_daemon.LAST_ERROR.findall(f"before\n{log}")
    assert [name for name, error in upgraded_daemon.KNOWN.items() if re.search(error, end)] == [finding]


def test_every_known_end_has_its_finding():
    findings = {path.stem for path in (Path(__file__).parents[1] / "docs/findings").glob("*.md")}
    assert {*upgraded_daemon.KNOWN} <= findings
