"""The verbs of the lab: what is removed is yours, what is printed fits, and programs can read it."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from clusterproof.cli import app
from clusterproof.exit_status import ExitStatus
from clusterproof.lab import commands, doctor
from clusterproof.lab.core import kept
from clusterproof.lab.core.kept import Kept, keep
from clusterproof.lab.core.runs import Run, owner
from clusterproof.lab.host import inventory
from clusterproof.lab.substrates import container as containers
from tests.fakes import INCUS_702, FakeMachine, FakeServer, bake_beforehand, stay_alone


@pytest.fixture(autouse=True)
def server(monkeypatch, tmp_path):
    stay_alone(monkeypatch, tmp_path / "lab")
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(inventory, "clear", list)
    monkeypatch.setattr(inventory, "unused", lambda _=None: [])
    monkeypatch.setattr(doctor, "daemon_binary", lambda: None)
    with FakeServer() as running:
        monkeypatch.setenv("LAB_HOST", str(running.socket))
        yield running


def up(server, name: str, **whose: object) -> str:
    """Leave a cluster as ``up`` does; ``whose`` replaces who and where one is."""
    run = Run(name)
    run.hold()
    with pytest.MonkeyPatch.context() as then:
        for what, value in whose.items():
            then.setattr(kept, what, value)
        keep(run, "incus@7.0.2")
    server.projects.setdefault("clusterproof", {"name": "clusterproof", "config": {}})
    server.pools.setdefault("clusterproof", {"name": "clusterproof", "config": {}})
    server.add_instance(f"cp-1-{name[-4:]}-1-m1", run=name, owner=owner())
    return name


MINE, OTHERS = "20260302T210400Z-aaaa", "20260302T210500Z-bbbb"
ELSEWHERE = {"CHECKOUT": "/elsewhere"}
SOMEBODY = {"person": lambda: "somebody"}


def invoke(*args: str):
    return CliRunner().invoke(app, list(args))


def left(server) -> set[str]:
    return {run.id for run in Run.known() if run.kept} | {
        name[5:9] for name in server.instances["clusterproof"]
    }


def test_members_may_be_left_unjoined(monkeypatch):
    bake_beforehand(INCUS_702)
    machines = []

    def machine(_, name, image):
        machines.append(FakeMachine(name, image))
        return machines[-1]

    monkeypatch.setattr(containers, "Container", machine)
    result = invoke("up", "--build", "incus@7.0.2", "--members", "2", "--unjoined")
    assert result.exit_code == 0, result.output
    assert [one.up for one in machines] == [True, True]
    # A daemon that does not run yet has been asked for nothing.
    assert not [line for one in machines for line in one.commands if "preseed" in line or "start incus" in line]
    assert "  m2  https://" in result.output
    assert [run.kept for run in Run.known()] == [True]


def test_the_only_one_that_i_made_is_removed_without_a_name(server):
    up(server, MINE)
    result = invoke("down")
    assert result.exit_code == 0, result.output
    assert f"cluster {MINE}: 1 instances and volumes deleted" in result.output
    assert not left(server)


@pytest.mark.parametrize("args", [("down",), ("down", "--all")])
@pytest.mark.parametrize("whose", [ELSEWHERE, SOMEBODY], ids=["another checkout", "another user"])
def test_what_is_not_mine_is_not_removed_unasked(server, args, whose):
    up(server, MINE, **whose)
    result = invoke(*args)
    assert result.exit_code == ExitStatus.USAGE
    assert f"not made by you from this checkout: {MINE}; name it, or add --yes" in result.output
    assert "incus@7.0.2, " in result.output
    assert left(server) == {MINE, "aaaa"}


@pytest.mark.parametrize(
    "args", [("down", "--yes"), ("down", MINE), ("down", "aaaa"), ("down", "--all", "--yes")], ids=" ".join
)
def test_what_is_not_mine_is_removed_where_that_is_said(server, args):
    up(server, MINE, **SOMEBODY)
    assert invoke(*args).exit_code == 0
    assert not left(server)


def test_of_several_one_is_named(server):
    up(server, MINE)
    up(server, OTHERS)
    result = invoke("down")
    assert result.exit_code == ExitStatus.USAGE
    assert MINE in result.output
    assert OTHERS in result.output
    assert invoke("down", "bbbb").exit_code == 0
    assert left(server) == {MINE, "aaaa"}


def test_all_that_are_mine(server):
    up(server, MINE)
    up(server, OTHERS)
    assert invoke("down", "--all").exit_code == 0
    assert not left(server)


def test_all_with_one_that_is_not_mine(server):
    up(server, MINE)
    up(server, OTHERS, **ELSEWHERE)
    result = invoke("down", "--all")
    assert result.exit_code == ExitStatus.USAGE
    assert f"not made by you from this checkout: {OTHERS};" in result.output
    assert left(server) == {MINE, OTHERS, "aaaa", "bbbb"}


@pytest.mark.parametrize("name", ["a", "aaa", "4", "Z-aaaa", "20260302"])
def test_a_part_of_a_name_removes_nothing(server, name):
    up(server, MINE)
    assert invoke("down", name).exit_code == ExitStatus.USAGE
    assert left(server) == {MINE, "aaaa"}


def test_a_sweep_lets_it_stay_and_removes_the_dead(server):
    up(server, MINE, **SOMEBODY)
    server.add_instance("cp-1-dead-1-m1", run="dead", owner=owner())
    result = invoke("sweep")
    assert result.exit_code == 0, result.output
    assert left(server) == {MINE, "aaaa"}
    assert "other runs are alive: their members, and what these need, stay" in result.output


def test_the_doctor_advises_to_remove_only_what_is_mine(server):
    up(server, OTHERS, **SOMEBODY)
    assert "clusterproof down" not in invoke("doctor").output
    up(server, MINE)
    assert f"clusterproof down {MINE}" in invoke("doctor").output
    assert "--all" not in invoke("doctor").output


@pytest.mark.parametrize("verb", ["doctor", "builds"])
@pytest.mark.parametrize("columns", ["80", "40"])
def test_nothing_is_cut_or_padded(monkeypatch, verb, columns):
    monkeypatch.setenv("COLUMNS", columns)
    lines = invoke(verb).output.splitlines()
    assert lines
    assert all(line == line.rstrip() for line in lines)
    assert "…" not in "".join(lines)


def test_what_is_baked_comes_first():
    bake_beforehand(INCUS_702)
    lines = invoke("builds").output.splitlines()
    assert lines[0] == "baked:"
    assert lines[1].split()[:3] == ["incus@7.0.2", "7.0", "7.0.2-1"]
    assert lines[2] == "not baked yet:"


def test_builds_and_doctor_for_programs():
    bake_beforehand(INCUS_702)
    builds = json.loads(invoke("builds", "--json").output)
    (found,) = [one for one in builds if one["baked"]]
    assert (found["name"], found["version"]) == ("incus@7.0.2", "7.0.2-1")
    findings = json.loads(invoke("doctor", "--json").output)
    assert {"subject", "found", "ok", "vital", "remedy"} == set(findings[0])


@pytest.mark.parametrize(
    ("force", "no", "coloured"), [(None, None, False), ("1", None, True), ("1", "1", False)]
)
def test_signs_have_colours_where_there_are_some(monkeypatch, force, no, coloured):
    for name, value in (("FORCE_COLOR", force), ("NO_COLOR", no)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(commands, "console", Console())
    shown = invoke("doctor").output
    assert ("\033[32mok" in shown) is coloured
    assert "ok" in shown


@pytest.mark.parametrize(
    ("lab", "says"),
    [
        ("/dev/null", "/dev/null cannot be a folder: /dev/null is no folder"),
        ("/dev/null/x", "/dev/null is no folder"),
        ("/proc/nope", "/proc/nope cannot be a folder: /proc holds no files"),
    ],
)
def test_a_lab_without_a_folder_is_no_lab(monkeypatch, lab, says):
    monkeypatch.setenv("LAB_DIR", lab)
    result = invoke("doctor")
    assert says in result.output
    assert result.exit_code == ExitStatus.INCOMPLETE


def test_a_kept_cluster_of_a_failed_cell_is_all_that_stays():
    run = Run(MINE)
    run.hold()
    keep(run, "incus@7.0.2", "suites/a/test_b.py::test_c[incus@7.0.2]", ["cp-1-aaaa-1-1-m1"])
    assert Kept.of(run).stays("cp-1-aaaa-1-1-m1")
    assert "of the failed cell suites/a/test_b.py::test_c[incus@7.0.2]" in invoke("down", "--all").output
