"""A whole run: the lab host first, results as they come, the matrix and the gate at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures import cells
from fixtures import session as sessions
from fixtures.broken import Broken
from fixtures.options import FOLDER
from lab import rootfs
from lab.errors import LabError
from lab.host import owner
from lab.state import Run
from tests.fakes import (
    BRIDGE,
    CONFTEST,
    INCUS_604,
    INCUS_702,
    LXD_502,
    SETTINGS,
    FakeCheckout,
    FakeServer,
    Refusal,
    bake_beforehand,
    stay_alone,
)
from tests.samples import cell

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
FREE = ("--build", "incus@7.0.2")


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def lab_dir(monkeypatch, tmp_path, server) -> Path:
    """A lab with a host and three baked builds."""
    stay_alone(monkeypatch, tmp_path / "lab")
    monkeypatch.setenv("LAB_HOST", str(server.socket))
    for entry in (INCUS_604, INCUS_702, LXD_502):
        bake_beforehand(entry)
    return tmp_path / "lab"


@pytest.fixture
def checkout(pytester, monkeypatch, lab_dir) -> FakeCheckout:  # noqa: ARG001
    checkout = FakeCheckout(pytester, monkeypatch)
    checkout.ledger()
    checkout.scenario("def test_it(cell): pass")
    return checkout


def test_a_run_from_its_first_line_to_its_last(checkout):
    result = checkout.run(*FREE)
    assert result.ret == 0
    run = (checkout.root / "out" / "latest").resolve()
    result.stdout.fnmatch_lines([f"run {run.name} on incus 6.0.4", "*incus@7.0.2*ready*", "*conforms*"])
    assert {path.name for path in run.iterdir()} >= {
        "results.jsonl",
        "matrix.json",
        "index.html",
        "junit.xml",
        "allure-results",
        "evidence",
    }
    assert (checkout.root / "out" / "history.sqlite").is_file()
    last = [line for line in result.outlines if line.strip()][-1]
    assert "conforms" in last


def test_the_newest_run_is_the_latest(checkout):
    latest = checkout.root / "out" / "latest"
    checkout.run(*FREE)
    first = latest.resolve()
    checkout.run(*FREE)
    assert latest.is_symlink()
    assert latest.resolve() != first
    assert first.is_dir()


def test_nothing_is_left_on_the_host_and_the_run_is_forgotten(checkout, server):
    checkout.scenario(
        "def test_it(cell, lab):\n"
        "    lab.host.api.post('instances', {'name': 'left', 'config':"
        " {'user.clusterproof.run': lab.host.run.id}})"
    )
    result = checkout.run(*FREE)
    result.stdout.fnmatch_lines(["*cleared 1 instances and volumes that cells left behind"])
    assert server.instances["clusterproof"] == {}
    assert Run.known() == []


def test_what_dead_runs_left_is_swept_first(checkout, server):
    server.add_instance("dead-m1", run="dead", owner=owner())
    result = checkout.run(*FREE)
    result.stdout.fnmatch_lines(["swept: run dead: 1 instances, volumes and processes removed"])
    assert server.instances["clusterproof"] == {}


def test_what_cannot_be_swept_ends_no_run_with_a_traceback(checkout, server):
    server.add_instance("dead-m1", run="dead", owner=owner())
    server.say["DELETE instances/dead-m1"] = Refusal(500, "device busy")
    result = checkout.run(*FREE)
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert "device busy" in result.stdout.str() + result.stderr.str()


def test_a_lab_host_that_does_not_answer_is_one_clear_line(checkout, server):
    server.stop()
    result = checkout.run(*FREE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "clusterproof: lab host: host does not answer at" in text
    assert "check --lab-host" in text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    result.assert_outcomes()


def test_a_lab_host_that_fails_while_it_is_prepared(checkout, server):
    server.say["GET instances"] = Refusal(500, "database is locked")
    result = checkout.run(*FREE)
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "database is locked" in text
    assert "INTERNALERROR" not in text


def test_a_lab_host_that_goes_away_in_the_middle(checkout, server, monkeypatch):
    monkeypatch.setattr(sessions, "STOP", server.stop, raising=False)
    checkout.scenario("from fixtures import session\ndef test_it(cell): session.STOP()")
    result = checkout.run(*FREE)
    text = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in text
    assert "not cleared" in text
    # What was seen before is not lost.
    assert checkout.cells()[0]["observation"] == "conforms"
    assert (checkout.root / "out/latest/index.html").is_file()


def test_a_build_without_image_blocks_its_cells_only(checkout, monkeypatch):
    def make(entry, *_, **__):
        raise LabError(f"cannot install {entry.name}: no network; see the log")

    monkeypatch.setattr(rootfs, "make", make)
    checkout.scenario("def test_it(image): pass\ndef test_more(members): pass")
    result = checkout.run("--build", "incus@7.5.1", "--build", "incus@7.0.2", "-k", "test_it or 7.5.1")
    verdicts = {
        (one["scenario"].rpartition("::")[2], one["build"]["name"]): (one["verdict"], one["reason"])
        for one in checkout.cells()
    }
    why = "cannot install incus@7.5.1: no network; see the log"
    assert verdicts == {
        ("test_it", "incus@7.0.2"): ("conforms", ""),
        ("test_it", "incus@7.5.1"): ("blocked", why),
        ("test_more", "incus@7.5.1"): ("blocked", why),
    }
    assert result.ret == 2


def test_what_failed_once_is_not_tried_again(checkout, monkeypatch):
    tried = []

    def make(entry, *_, **__):
        tried.append(entry.name)
        raise LabError("no network")

    monkeypatch.setattr(rootfs, "make", make)
    checkout.scenario("def test_a(image): pass\ndef test_b(image): pass\ndef test_c(image): pass")
    checkout.run("--build", "incus@7.5.1")
    assert tried == ["incus@7.5.1"]
    assert [one["verdict"] for one in checkout.cells()] == ["blocked"] * 3


def test_only_builds_that_cells_need_are_baked(checkout, monkeypatch):
    baked = []
    monkeypatch.setattr(
        sessions.bake, "bake_all", lambda entries, *_, **__: baked.extend(e.name for e in entries) or {}
    )
    checkout.scenario("def test_it(cell): pass\n@pytest.mark.upgrade\ndef test_change(case): pass")
    checkout.run("-k", "test_it and 7.0.2 and not to")
    checkout.run("-k", "test_change and 6.0.4")
    assert baked == ["incus@7.0.2", "incus@6.0.4", "incus@7.0.2"]


def test_nothing_chosen_touches_no_lab(checkout, server):
    result = checkout.run(*FREE, "-k", "no_such_scenario")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert server.calls == []
    assert not (checkout.root / "out").exists() or not (checkout.root / "out/latest").exists()


FAILS = "def test_it(cell): assert False"
SKIPS = "def test_it(cell): pytest.skip('no')"
BLOCKS = "from lab.errors import LabError\ndef test_it(cell): raise LabError('gone')"


@pytest.mark.parametrize(
    ("code", "gate", "status"),
    [
        ("def test_it(cell): pass", "strict", 0),
        (FAILS, "expected", 1),
        (FAILS, "none", 0),
        (BLOCKS, "expected", 2),
        (SKIPS, "expected", 0),
        (SKIPS, "strict", 1),
    ],
)
def test_the_gate_decides_the_exit_status(checkout, code, gate, status):
    checkout.scenario(code)
    result = checkout.run(*FREE, "--gate", gate)
    assert (result.ret != 0) is (status != 0)
    if status == 2:
        assert result.ret == 2


def test_the_last_lines_say_which_cells_and_why(checkout):
    checkout.scenario(BLOCKS)
    result = checkout.run(*FREE)
    last = "\n".join(result.outlines[-4:])
    assert "blocked" in last
    assert "incus@7.0.2" in last or "incus 7.0.2" in last
    assert "gone" in last


def test_a_failing_test_that_is_no_scenario_fails_the_run(checkout):
    (checkout.root / "tests").mkdir()
    (checkout.root / "tests/test_unit.py").write_text("def test_y(): assert False")
    result = checkout.run(*FREE, "tests", "suites")
    assert result.ret == 1
    assert len(checkout.cells()) == 1


def test_unit_tests_with_builds_in_their_names_are_no_cells(checkout):
    (checkout.root / "tests").mkdir()
    (checkout.root / "tests/test_unit.py").write_text(
        "import pytest\n@pytest.mark.parametrize('name', ['incus@9.9', 'x@y'])\ndef test_y(name): pass"
    )
    result = checkout.run(*FREE, "tests", "suites")
    assert result.ret == 0
    result.assert_outcomes(passed=3)


def test_a_run_that_is_interrupted_keeps_what_it_has(checkout, server):
    checkout.scenario("def test_a(cell): pass\ndef test_b(cell): raise KeyboardInterrupt")
    result = checkout.run(*FREE)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "test_a" in {one["scenario"].rpartition("::")[2] for one in checkout.cells()}
    assert "not passed: the results are incomplete" in result.stdout.lines[-1]
    assert server.instances["clusterproof"] == {}
    assert Run.known() == []


# Faults


def test_a_run_with_faults_judges_the_scenarios_and_not_the_build(checkout):
    result = checkout.run("--fault", "kill-member", *FREE)
    assert result.ret == 0
    assert result.stdout.lines[-1] == (
        "fault kill-member: passed: no cell took it for the symptom (1 conforms)"
    )
    assert not (checkout.root / "out" / "latest").exists()
    assert not (checkout.root / "out" / "history.sqlite").exists()
    (results,) = (checkout.root / "out").glob("*/results.jsonl")
    assert json.loads(results.read_text())["fault"] == "kill-member"


def test_an_unknown_fault(checkout):
    result = checkout.run("--fault", "sabotage")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'sabotage'*kill-member*"])


# Workers


KEPT = """
import json
from fixtures.cells import begun
@pytest.mark.{change}
@pytest.mark.role("workaround")
def test_it(cell, request):
    kept = json.loads(begun(cell.out, request.node.nodeid).read_text())
    assert (kept["observation"], kept["verdict"]) == ("lab-error", "blocked")
    assert (kept["issue"], kept["role"], kept["run"]) == ("lxd-1", "workaround", cell.run)
    assert (kept["build"]["name"], kept["peer"]["name"]) == {builds}
    assert "died" in kept["reason"]
"""


@pytest.mark.parametrize(
    ("change", "builds"),
    [("upgrade", ("incus@7.0.2", "incus@6.0.4")), ("downgrade", ("incus@6.0.4", "incus@7.0.2"))],
)
def test_what_is_recorded_of_a_cell_should_its_process_die(checkout, change, builds):
    checkout.scenario(KEPT.format(change=change, builds=builds))
    result = checkout.run(*FREE, "--build", "incus@6.0.4")
    result.assert_outcomes(passed=1)
    # It did not die, so that what was kept for that case is gone.
    assert len(checkout.cells()) == 1
    assert not (checkout.root / "out" / "latest" / "begun").exists()


def died(pytester, node: str, content: str | None) -> list[dict]:
    """Let the process of cell ``node`` die, having kept ``content``; return what was recorded."""
    config = pytester.parseconfigure("suites")
    folder = config.stash[FOLDER]
    kept = cells.begun(folder, node)
    kept.parent.mkdir(parents=True)
    if content is not None:
        kept.write_text(content)
    config.pluginmanager.get_plugin("clusterproof-controller").pytest_handlecrashitem(crashitem=node)
    assert not kept.exists()
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_cell_whose_process_died_is_recorded(checkout, pytester):  # noqa: ARG001
    kept = cell(observation="lab-error", reason="died")
    assert died(pytester, "suites/a/test_b.py::test_c[incus@7.0.2]", kept.line()) == [json.loads(kept.line())]


@pytest.mark.parametrize("content", [None, "", '{"run": "2026'])
def test_a_process_that_died_before_it_kept_anything(checkout, pytester, content):  # noqa: ARG001
    assert died(pytester, "suites/a/test_b.py::test_c[incus@7.0.2]", content) == []


def test_workers_have_no_controller(checkout, pytester):  # noqa: ARG001
    config = pytester.parseconfig("suites")
    config.workerinput = {"clusterproof_run": "r1"}
    sessions.pytest_configure(config)
    assert config.pluginmanager.get_plugin("clusterproof-controller") is None


DIES = """
import os, pytest
pytestmark = pytest.mark.documents("lxd-1")
@pytest.mark.role("control")
def test_dies(cell): os._exit(7)
def test_lives(cell): pass
"""


def test_two_workers_one_of_which_dies(checkout, lab_dir, server):
    """The real thing, in processes of their own: every cell leaves its line, and the lab is cleared."""
    server.networks[BRIDGE["name"]] = BRIDGE
    root = checkout.root
    (root / "suites/membership/test_name.py").write_text(DIES)
    for name in ("fixtures", "lab", "reports", "builds.py"):
        (root / name).symlink_to(ROOT / name)
    (root / "conftest.py").write_text(CONFTEST)
    (root / "pyproject.toml").write_text(SETTINGS + 'pythonpath = ["."]\n')
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n2", *FREE, "--build", "incus@6.0.4", "-q"],
        cwd=root,
        env={**os.environ, "LAB_DIR": str(lab_dir), "LAB_HOST": str(server.socket)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    verdicts = {
        (one["scenario"].rpartition("::")[2], one["build"]["name"]): one["verdict"]
        for one in checkout.cells()
    }
    assert verdicts == {
        ("test_dies", "incus@6.0.4"): "blocked",
        ("test_dies", "incus@7.0.2"): "blocked",
        ("test_lives", "incus@6.0.4"): "silently-fixed",
        ("test_lives", "incus@7.0.2"): "conforms",
    }, done.stdout + done.stderr
    assert {one["role"] for one in checkout.cells() if one["verdict"] == "blocked"} == {"control"}
    assert done.returncode != 0
    assert "INTERNALERROR" not in done.stdout
    assert server.instances["clusterproof"] == {}


# Builds without an image


def test_what_is_broken_is_remembered_for_all_processes(tmp_path):
    Broken(tmp_path).mark({"incus@7.0.2": "no network"})
    assert Broken(tmp_path).reason("incus@7.0.2") == "no network"
    assert Broken(tmp_path).reason("incus@6.0.4") is None


def test_nothing_is_broken(tmp_path):
    Broken(tmp_path).mark({})
    assert Broken(tmp_path).reason("incus@7.0.2") is None
    assert list(tmp_path.iterdir()) == []
