"""The steps of the workflows, in a folder that looks like a runner's checkout, with stand-ins for its tools."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.builds import catalogue
from clusterproof.lab.core.errors import UsageError
from clusterproof.reports.plan.plan import Plan, Planned, PlannedBuild
from clusterproof.reports.plan.priority import Why
from clusterproof.reports.results.results import read
from tests.samples import INCUS_604, LXD_502, cell, sample_ledger, sample_run, write_run
from tests.shards import write_shards

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / ".github/scripts"
SUDO = """
while :; do case $1 in --preserve-env*) shift ;; *) break ;; esac; done
case $1 in
*/tox | */python | */candidate.py | tee) exec "$@" ;;
esac
"""


def module(name: str):
    """Return the program ``name`` as a module."""
    if str(SCRIPTS) not in sys.path:
        # As for a program that is started there.
        sys.path.append(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


class Runner:
    """A checkout on a runner: programs in its ``bin`` are found first, and tell how they were called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        (root / ".github").mkdir()
        for name in ("scripts", "nightly-builds"):
            (root / ".github" / name).symlink_to(ROOT / ".github" / name)
        for name in ("suites", "lab", "fixtures", "reports", "clusterproof", "conftest.py", "pyproject.toml"):
            (root / name).symlink_to(ROOT / name)
        for name in ("output", "path", "summary"):
            (root / name).touch()
        # A link to it would not find what is installed beside it.
        self.program("python", f'exec {sys.executable} "$@"', quiet=True)
        self.program("clusterproof", f'exec {sys.executable} -m clusterproof "$@"', quiet=True)
        self.program("sudo", SUDO)

    def program(self, name: str, body: str = "", *, quiet: bool = False) -> None:
        file = self.bin / name
        told = "" if quiet else f'echo "{name} $*" >>{self.root}/calls\n'
        file.write_text(f"#!/bin/sh\n{told}{body}\n")
        file.chmod(0o755)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        program = [".github/scripts/" + script]
        if script.endswith(".py"):
            program.insert(0, sys.executable)
        return subprocess.run(
            [*program, *arguments],
            cwd=self.root,
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": str(self.root),
                "PYTHONPATH": str(ROOT),
                "LAB_DIR": str(self.root / "lab-state"),
                "GITHUB_OUTPUT": str(self.root / "output"),
                "GITHUB_PATH": str(self.root / "path"),
                "GITHUB_STEP_SUMMARY": str(self.root / "summary"),
                "GITHUB_REPOSITORY": "owner/clusterproof",
                "RUNNER_ROOT": str(self.root / "machine"),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def outputs(self) -> dict[str, str]:
        lines = (self.root / "output").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def summary(self) -> str:
        return (self.root / "summary").read_text()


@pytest.fixture
def runner(tmp_path) -> Runner:
    return Runner(tmp_path / "checkout")


@pytest.fixture
def cells(tmp_path):
    return sample_run(sample_ledger(tmp_path / "ledger"))


# The runner


def test_a_runner_is_made_fit(runner):
    machine = runner.root / "machine"
    for folder in ("dev", "etc/udev/rules.d", "usr/share/dotnet", "opt/ghc", "sys/module/br_netfilter"):
        (machine / folder).mkdir(parents=True)
    (machine / "dev/kvm").touch()
    for name in ("docker", "iptables"):
        runner.program(name)
    done = runner.run("runner-setup", "--vm")
    assert done.returncode == 0, done.stderr
    calls = [call.removeprefix("sudo ").replace(str(machine), "") for call in runner.calls]
    assert "rm -rf /usr/share/dotnet" in calls
    assert "rm -rf /opt/ghc" in calls
    assert calls.index("systemctl stop docker.socket docker.service") < calls.index("iptables --flush FORWARD")
    assert "iptables --policy FORWARD ACCEPT" in calls
    assert "modprobe --remove br_netfilter" in calls
    assert "udevadm trigger --name-match=kvm" in calls
    assert calls[-1].endswith("/lab/bootstrap --vm")
    rule = (machine / "etc/udev/rules.d/99-clusterproof-kvm.rules").read_text()
    assert rule == 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"\n'


def test_a_runner_without_kvm_and_docker(runner):
    (runner.root / "machine").mkdir()
    done = runner.run("runner-setup")
    assert done.returncode == 0, done.stderr
    assert "no /dev/kvm: virtual machines are emulated" in done.stdout
    assert runner.calls[-1].endswith("/lab/bootstrap")
    assert [call for call in runner.calls if "bootstrap" not in call] == []


def test_a_runner_that_cannot_be_made_fit(runner):
    (runner.root / "machine").mkdir()
    runner.program("sudo", "exit 7")
    assert runner.run("runner-setup").returncode == 7


TOX = "mkdir -p .tox/qualify/bin && touch .tox/qualify/bin/python && chmod +x .tox/qualify/bin/python"


def test_the_environment_is_tox_s(runner):
    runner.program("tox", TOX)
    done = runner.run("python-setup")
    assert done.returncode == 0, done.stderr
    assert runner.calls == ["tox run -e qualify --notest"]
    assert (runner.root / "path").read_text() == f"{runner.root}/.tox/qualify/bin\n"


def test_tox_is_fetched_where_there_is_none(runner):
    runner.program("pipx", f"cp {runner.bin}/later {runner.bin}/tox")
    runner.program("later", TOX)
    done = runner.run("python-setup", PATH=f"{runner.bin}:{only_coreutils(runner)}")
    assert done.returncode == 0, done.stderr
    assert runner.calls[0] == "pipx install tox>=4.30,<5"


def only_coreutils(runner) -> Path:
    folder = runner.root / "coreutils"
    folder.mkdir()
    for name in ("sh", "cp", "mkdir", "touch", "chmod"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


# Runs


def ran(runner, **environment) -> list[str]:
    runner.program("tox", "exit ${STATUS:-0}")
    done = runner.run("run-suites", **environment)
    assert done.returncode == int(environment.get("STATUS", 0)), done.stderr
    (call,) = [call for call in runner.calls if call.startswith("tox ")]
    return call.removeprefix("tox run -e qualify -- ").split(" ")


def test_a_run_of_everything(runner):
    assert ran(runner) == ["--gate=expected"]


def test_a_run_of_a_shard(runner):
    assert ran(
        runner,
        BUILDS="lxd@6/edge=7 incus@7.0.2",
        SHARD="3/8",
        BUDGET="20m",
        SKIP_KNOWN="true",
        GATE="none",
    ) == [
        "--build=lxd@6/edge=7",
        "--build=incus@7.0.2",
        "--shard=3/8",
        "--budget=20m",
        "--skip-known",
        "--gate=none",
    ]


def test_a_run_of_an_issue_on_an_uploaded_build(runner):
    assert ran(runner, ISSUES="lxd-15313", SIDELOAD="incus@7.0.2=uploaded/incusd") == [
        "--issue=lxd-15313",
        "--sideload=incus@7.0.2=uploaded/incusd",
        "--gate=expected",
    ]


def test_what_somebody_typed_is_no_shell_and_no_pattern(runner):
    typed = "* $(touch pwned) `touch pwned` ;touch pwned"
    assert ran(runner, ISSUES=typed, BUDGET=typed)[0] == "--issue=*"
    assert not (runner.root / "pwned").exists()


def test_a_run_ends_as_the_gate_says_and_its_files_are_given_back(runner):
    (runner.root / "out").mkdir()
    ran(runner, STATUS="2")
    assert runner.calls[-1].startswith("sudo chown -R ")
    assert runner.calls[-1].endswith(" out")


def test_a_run_is_packed(runner, cells):
    run = write_run(runner.root / "out/r1", cells)
    (runner.root / "out/latest").symlink_to("r1")
    done = runner.run("pack-run")
    assert done.returncode == 0, done.stderr
    packed = ["tar", "-tzf", runner.root / "run.tar.gz"]
    assert subprocess.check_output(packed, text=True).splitlines() == ["r1/", "r1/results.jsonl"]
    assert run.is_dir()


def test_there_is_no_run_to_pack(runner):
    done = runner.run("pack-run")
    assert done.returncode == 1
    assert done.stderr == "pack-run: no results in out/latest: nothing was run\n"


# The plan of a night


def plan_of(seconds, count=1, builds=("lxd@5.0.2",), revision=None) -> Plan:
    planned = [
        Planned(
            name=f"test_{number}",
            issue="lxd-1",
            build=builds[0],
            substrate="container",
            seconds=seconds,
            basis="last time",
            why=Why.NEVER,
            last=None,
        )
        for number in range(count)
    ]
    return Plan(
        budget=None,
        workers=1,
        shard=None,
        results=0,
        builds=[PlannedBuild(name=name, version="1", missing=(), revision=revision) for name in builds],
        cells=planned,
        left_out=(),
    )


@given(st.floats(0, 4000), st.integers(0, 40), st.floats(1, 100), st.integers(1, 12))
def test_how_many_shards_there_are(seconds, cells, minutes, most):
    plan = plan_of(seconds, cells)
    shards = module("plan_shards").count(plan, minutes, most)
    assert (shards == 0) == (cells == 0)
    assert shards <= min(most, cells)
    if 0 < shards < min(most, cells):
        assert sum(one.seconds for one in plan.cells) <= shards * minutes * 60 + 1e-6


def test_a_plan_becomes_a_matrix_of_jobs(runner):
    (runner.root / "plan.json").write_text(plan_of(1200, 5, ("lxd@5.0.2", "incus@7.0.2")).model_dump_json())
    done = runner.run("plan_shards.py", "plan.json", "--minutes=45")
    assert done.returncode == 0, done.stderr
    shards = [{"name": f"{index}/3", "builds": "lxd@5.0.2"} for index in (1, 2, 3)]
    assert runner.outputs == {
        "shards": json.dumps(shards),
        "builds": "lxd@5.0.2 incus@7.0.2",
        "smoke": "lxd@5.0.2",
        "scenario": "test_0",
    }
    assert "builds: 2, about 5.4 GB in all and 2.7 GB for each" in done.stdout


def test_each_build_has_a_shard_and_a_snap_is_tried_first(runner):
    plan = plan_of(60, 3, ("incus@7.0.2",))
    edge = PlannedBuild(name="lxd@6/edge", version="6.4", missing=("container",), revision=7)
    cells = [
        *plan.cells,
        plan.cells[0].model_copy(update={"name": "suites/a.py::test_a[lxd@6/edge]", "build": "lxd@6/edge"}),
    ]
    cells = [one.model_copy(update={"build": one.build.replace("lxd@5.0.2", "incus@7.0.2")}) for one in cells]
    plan = plan.model_copy(update={"builds": (*plan.builds, edge), "cells": tuple(cells)})
    (runner.root / "plan.json").write_text(plan.model_dump_json())
    assert runner.run("plan_shards.py", "plan.json").returncode == 0
    assert json.loads(runner.outputs["shards"]) == [
        {"name": "1/2", "builds": "incus@7.0.2"},
        {"name": "2/2", "builds": "lxd@6/edge=7"},
    ]
    assert (runner.outputs["smoke"], runner.outputs["scenario"]) == ("lxd@6/edge=7", "suites/a.py::test_a")


@pytest.mark.parametrize(
    ("status", "results", "ends"), [(0, True, 0), (1, True, 0), (2, True, 1), (64, True, 1), (1, False, 1)]
)
def test_the_first_job_fails_unless_its_build_was_judged(runner, status, results, ends):
    written = "mkdir -p out/latest && echo {} >out/latest/results.jsonl; " if results else ""
    runner.program("tox", f"{written}exit {status}")
    done = runner.run("smoke", BUILDS="lxd@6/edge=7", SCENARIO="suites/a.py::test_a")
    assert done.returncode == ends, done.stderr
    assert "suites/a.py::test_a" in runner.calls[-1] or any("test_a" in call for call in runner.calls)
    assert ("lxd@6/edge=7 was not judged" in done.stderr) == bool(ends)


def test_all_shards_of_a_night_run_on_the_same_revisions(runner):
    plan = plan_of(1, 1, ("lxd@6/edge", "lxd@6/stable"), revision=7)
    (runner.root / "plan.json").write_text(plan.model_dump_json())
    runner.run("plan_shards.py", "plan.json")
    assert runner.outputs["builds"] == "lxd@6/edge=7 lxd@6/stable=7"


def test_a_night_with_nothing_new_has_no_shards(runner):
    (runner.root / "plan.json").write_text(plan_of(1, 0).model_dump_json())
    runner.run("plan_shards.py", "plan.json")
    assert runner.outputs["shards"] == "[]"


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_a_plan_that_is_none(runner, content):
    if content is not None:
        (runner.root / "plan.json").write_text(content)
    done = runner.run("plan_shards.py", "plan.json")
    assert done.returncode == 1
    assert done.stderr.startswith('plan_shards.py: "plan.json": ')
    assert runner.outputs == {}


def test_the_plan_of_a_night_is_pytest_s(runner):
    done = runner.run("plan-nightly", BUILDS="lxd@5.0.2 incus@7.0.2", MINUTES="1", MOST="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["name"] for one in json.loads(runner.outputs["shards"])] == ["1/3", "2/3", "3/3"]
    assert {one["builds"] for one in json.loads(runner.outputs["shards"])} == {"incus@7.0.2", "lxd@5.0.2"}
    assert runner.outputs["builds"] == "incus@7.0.2 lxd@5.0.2"
    assert runner.outputs["smoke"] in {"incus@7.0.2", "lxd@5.0.2"}
    assert "% /" in done.stdout  # how full the disk is
    assert (runner.root / "out/plan.json").is_file()
    assert not (runner.root / "out/history.sqlite").exists()


def test_a_night_watches_what_upstream_releases(runner):
    for name in ("clusterproof", "python"):
        runner.program(name)
    assert runner.run("plan-nightly", SUBSTRATE="container").returncode == 0
    words = next(call for call in runner.calls if call.startswith("clusterproof")).split()
    watched = {word.removeprefix("--build=") for word in words if word.startswith("--build=")}
    snaps = {f"lxd@{track}/{risk}" for track in ("5.0", "5.21", "6") for risk in ("stable", "candidate", "edge")}
    assert watched == snaps | {"incus@zabbly/stable", "incus@zabbly/daily"}
    assert watched <= {build.name for build in catalogue.load().builds}
    assert "--substrate=container" in words


def test_a_runner_for_containers_does_without_virtual_machines(runner):
    (runner.root / "machine").mkdir()
    assert runner.run("runner-setup", "--vm", SUBSTRATE="container").returncode == 0
    assert runner.calls[-1].endswith("/lab/bootstrap")


def test_a_build_that_is_none_ends_the_night_with_its_name(runner):
    done = runner.run("plan-nightly", BUILDS="lxd@99")
    assert done.returncode != 0
    assert "lxd@99" in done.stdout + done.stderr
    assert runner.outputs == {}


# What is qualified


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("lxd@5.21/candidate", "lxd@5.21/stable"),
        ("lxd@latest/edge", "lxd@latest/stable"),
        ("incus@7.0.2", "incus@6.0.4"),
        ("incus@6.0.4", ""),
        ("incus@0.0.0-mine", "incus@7.5.1"),
        ("podman@1", ""),
    ],
)
def test_what_a_build_follows(name, before):
    assert module("candidate").predecessor(name, catalogue.load()) == before


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["incusd"], "incusd"),
        (["lxd_1.snap"], "lxd_1.snap"),
        (["debs/a.deb", "debs/b.deb"], "debs"),
        (["a.deb"], "."),
        ([], None),
        (["incusd", "README"], None),
        (["a.deb", "other/b.deb"], None),
        (["a.deb", "notes.txt"], None),
    ],
)
def test_what_was_uploaded(tmp_path, files, found):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if found is None:
        with pytest.raises(UsageError, match="it must have one daemon"):
            module("candidate").uploaded(tmp_path)
    else:
        path = module("candidate").uploaded(tmp_path)
        assert path == tmp_path / found
        assert path.is_dir() or os.access(path, os.X_OK)


def test_a_build_is_qualified_against_its_predecessor(runner):
    done = runner.run("choose-candidate", BUILD="incus@7.0.2", AGAINST="")
    assert done.returncode == 0, done.stderr
    assert runner.outputs == {
        "judged": "incus@7.0.2",
        "against": "incus@6.0.4",
        "builds": "incus@7.0.2 incus@6.0.4",
        "sideload": "",
    }


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"BUILD": "incus@99"}, "incus@99"),
        ({"BUILD": "incus"}, "name one"),
        ({"BUILD": "incus@7.0.2 lxd@5.0.2"}, "name one build"),
        ({"BUILD": "incus@7.0.2", "AGAINST": "incus@7.0.2"}, "are the same build"),
        ({"BUILD": "incus@7.0.2", "ARTIFACT_RUN": "1"}, "takes the number of a run and the name"),
    ],
)
def test_what_cannot_be_qualified(runner, asked, says):
    done = runner.run("choose-candidate", **asked)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert runner.outputs == {}


def test_an_uploaded_build_is_fetched_and_compared_with_its_base(runner, monkeypatch):
    runner.program("gh", "mkdir -p uploaded && echo daemon >uploaded/incusd")
    runner.program("sudo", f'echo "$@" >{runner.root}/asked')
    done = runner.run("choose-candidate", BUILD="incus@7.0.2", ARTIFACT_RUN="12", ARTIFACT_NAME="build")
    assert done.returncode == 0, done.stderr
    assert runner.calls[0] == "gh run download 12 --repo owner/clusterproof --name build --dir uploaded"
    asked = "candidate.py incus@7.0.2 --against  --uploaded uploaded\n"
    assert (runner.root / "asked").read_text().endswith(asked)
    candidate = module("candidate")
    resolved = resolving(monkeypatch, candidate)
    told = candidate.choose("incus@7.0.2", "", runner.root / "uploaded")
    own = f"incus@7.0.2={runner.root}/uploaded/incusd"
    assert resolved == [(f"--sideload={own}",), ("--build=incus@7.0.2",)]
    assert told == {
        "judged": f"{own}",
        "against": "incus@7.0.2",
        "builds": "incus@7.0.2",
        "sideload": own,
    }


def resolving(monkeypatch, candidate, revisions=()):
    """Let ``candidate`` find what it asks for, a channel in its revision; return what it asked for."""
    asked = []

    def resolve(*options):
        asked.append(options)
        option, _, name = options[0].partition("=")
        asked_for = ""
        if option == "--build":
            name, _, asked_for = name.partition("=")
        revision = int(asked_for) if asked_for else dict(revisions).get(name)
        return PlannedBuild(name=name, version="1", missing=(), revision=revision)

    monkeypatch.setattr(candidate, "resolve", resolve)
    return asked


def test_a_channel_is_qualified_against_the_stable_one(monkeypatch):
    candidate = module("candidate")
    resolving(monkeypatch, candidate, {"lxd@6/edge": 7, "lxd@6/stable": 5}.items())
    told = candidate.choose("lxd@6/edge", "", None)
    assert told == {
        "judged": "lxd@6/edge",
        "against": "lxd@6/stable",
        "builds": "lxd@6/edge=7 lxd@6/stable=5",
        "sideload": "",
    }
    assert candidate.choose("lxd@6/edge=6", "", None)["builds"] == "lxd@6/edge=6 lxd@6/stable=5"
    with pytest.raises(UsageError, match="are the same build, revision 5; compare with another one"):
        candidate.choose("lxd@6/edge=5", "", None)


# History

GH = """
case "$*" in
*actions/workflows/*) cat runs.json ;;
*artifacts*) cat "artifacts-$(echo "$*" | sed 's/.*runs.\\([0-9]*\\).*/\\1/').json" ;;
*download*) mkdir -p out && touch out/history.sqlite ;;
esac
"""


def github(runner, runs: dict[int, tuple[str, list[dict]]]) -> None:
    listed = [{"id": number, "event": event} for number, (event, _) in runs.items()]
    (runner.root / "runs.json").write_text(json.dumps({"workflow_runs": listed}))
    for number, (_, artifacts) in runs.items():
        (runner.root / f"artifacts-{number}.json").write_text(json.dumps({"artifacts": artifacts}))
    runner.program("gh", GH)


KEPT = {"name": "history", "expired": False}


def restored(runner) -> str:
    done = runner.run("restore_history.py", DEFAULT_BRANCH="main")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_newest_history_is_taken(runner):
    github(runner, {9: ("schedule", []), 8: ("workflow_dispatch", [KEPT]), 7: ("schedule", [KEPT])})
    assert restored(runner) == "history: that of run 8\n"
    assert "-f branch=main -f status=completed" in runner.calls[0]
    assert runner.calls[-1] == "gh run download 8 --repo owner/clusterproof --name history --dir out"


def test_a_history_that_a_pull_request_has_left_is_not_taken(runner):
    github(runner, {9: ("pull_request", [KEPT]), 8: ("push", [KEPT]), 7: ("schedule", [KEPT])})
    assert restored(runner) == "history: that of run 7\n"


def test_the_first_night_has_no_history(runner):
    github(runner, {9: ("schedule", [KEPT | {"expired": True}, {"name": "run", "expired": False}])})
    assert restored(runner) == "history: none, as no run of nightly.yml on main has left one\n"
    assert not (runner.root / "out").exists()


@pytest.mark.parametrize("body", ["echo 'HTTP 502' >&2; exit 1", "echo no JSON", "echo '{}'", None])
def test_where_github_fails_the_night_ends_and_the_history_is_not_lost(runner, body):
    if body:
        runner.program("gh", body)
    done = runner.run("restore_history.py", DEFAULT_BRANCH="main", PATH=str(runner.bin))
    assert done.returncode == 1
    assert done.stderr.startswith("restore_history.py: ")
    assert "Traceback" not in done.stderr


# Merging


def shards_of(runner, cells, count=2, leave=()):
    """Write what the jobs of the shards upload, but of those to leave away."""
    for index, folder in enumerate(write_shards(runner.root / "machines", cells, count), start=1):
        if index not in leave:
            target = runner.root / f"shards/shard-{index}"
            target.mkdir(parents=True)
            packed = ["tar", "-czf", target / "run.tar.gz", "-C", folder.parent, folder.name]
            subprocess.run(packed, check=True)


@pytest.mark.parametrize(("expected", "status"), [(False, "1"), (True, "0")])
def test_the_shards_of_a_night_are_merged_judged_and_published(runner, cells, expected, status):
    shards_of(runner, [one for one in cells if one.verdict.expected or not expected])
    done = runner.run("merge-shards")
    assert done.returncode == 0, done.stdout + done.stderr
    assert runner.outputs == {"gate": status}
    assert (runner.root / "run.tar.gz").is_file()
    assert (runner.root / "out/history.sqlite").is_file()
    assert (runner.root / "out/site/index.html").is_file()
    assert (runner.root / "out/site/gate.svg").is_file()
    assert ("✓ Passed" in runner.summary) is expected


def test_a_shard_that_is_missing_does_not_pass(runner, cells):
    shards_of(runner, [one for one in cells if one.verdict.expected], count=3, leave=[2])
    done = runner.run("merge-shards")
    assert done.returncode == 0, done.stdout + done.stderr
    assert runner.outputs == {"gate": "2"}
    assert "of the 3 shards of cut" in done.stderr


def test_a_night_without_shards_hands_the_history_on(runner, cells):
    subprocess.run(
        [sys.executable, "-m", "clusterproof", "merge", write_run(runner.root / "r1", cells)],
        cwd=runner.root,
        check=True,
        capture_output=True,
    )
    done = runner.run("merge-shards")
    assert done.returncode == 0, done.stderr
    assert runner.outputs == {"gate": "nothing"}
    assert (runner.root / "out/site/index.html").is_file()


@pytest.mark.parametrize(
    ("gate", "jobs", "status"),
    [
        ("0", "success success success", 0),
        ("1", "success success success", 1),
        ("2", "success success success", 2),
        ("nothing", "success skipped success", 0),
        ("", "success success success", 1),
        ("0", "success failure success", 1),
        ("", "failure skipped skipped", 1),
        ("", "success cancelled skipped", 1),
    ],
)
def test_how_a_night_ends(runner, gate, jobs, status):
    done = runner.run("gate", GATE=gate, JOBS=jobs)
    assert done.returncode == status
    assert done.stdout.startswith("gate: passed" if status == 0 else "gate: not passed")


# Judging one run


def judged(runner, cells, **environment):
    write_run(runner.root / "out/r1", cells)
    (runner.root / "out/latest").symlink_to("r1")
    subprocess.run(
        [sys.executable, "-m", "clusterproof", "merge", "out/r1"],
        cwd=runner.root,
        check=True,
        capture_output=True,
    )
    return runner.run("judge", **environment)


def test_a_run_is_judged_and_told_on_the_page(runner, cells):
    assert judged(runner, cells).returncode == 1
    assert "regressed" in runner.summary or "discovered" in runner.summary
    assert (runner.root / "out/latest/gate.xml").is_file()


def test_a_build_is_judged_against_its_predecessor(runner, cells):
    environment = {"POLICY": "qualification", "JUDGED": "incus@7.0.2", "AGAINST": "incus@6.0.4"}
    done = judged(runner, cells, **environment)
    assert "incus@7.0.2 against incus@6.0.4" in done.stdout
    assert "### From incus@6.0.4 to incus@7.0.2" in runner.summary


def test_there_is_nothing_to_judge(runner):
    done = runner.run("judge")
    assert done.returncode == 1
    assert runner.summary == 'Nothing was run; the log of the step "Scenarios" says why.\n'


# Issues


class FakeGitHub:
    """What ``gh`` does with issues, kept in a list."""

    def __init__(self) -> None:
        self.issues: list[dict] = []
        self.comments: dict[int, list[str]] = {}
        self.changes: list[str] = []

    def __call__(self, *arguments: str, text: str | None = None) -> str:
        noun, verb, *rest = arguments
        if (noun, verb) == ("issue", "list"):
            return json.dumps(self.issues)
        if (noun, verb) == ("label", "create"):
            return ""
        self.changes.append(f"{verb} {rest[0]}" if verb != "create" else verb)
        if verb == "create":
            number = len(self.issues) + 1
            title = rest[rest.index("--title") + 1]
            self.issues.append({"number": number, "state": "OPEN", "title": title, "body": text})
            return f"https://example.org/issues/{number}\n"
        issue = self.issues[int(rest[0]) - 1]
        if verb == "edit":
            issue["body"] = text
        elif verb == "reopen":
            issue["state"] = "OPEN"
        elif verb == "comment":
            self.comments.setdefault(int(rest[0]), []).append(text)
        return ""


REGRESSED = {"observation": "symptom", "expectation": "fixed", "reason": "member m2 is not ONLINE"}


@dataclass
class Reporter:
    """How to report what a run showed, and the GitHub that is told."""

    report: Callable[..., int]
    github: FakeGitHub

    def __call__(self, *cells, arguments=()):
        return self.report(*cells, arguments=arguments)


@pytest.fixture
def reporter(tmp_path, monkeypatch):
    """Return the program and a GitHub of its own, and how to report what a run showed."""
    program = module("report_issues")
    github = FakeGitHub()
    monkeypatch.setattr(program, "gh", github)
    monkeypatch.delenv("GITHUB_RUN_ID", raising=False)
    runs = iter(range(100))

    def report(*cells, arguments=()):
        run = write_run(tmp_path / f"run-{next(runs)}", list(cells))
        return program.main([str(run), *arguments])

    return Reporter(report, github)


def test_one_issue_for_each_unexpected_verdict(reporter):
    other = cell(**REGRESSED, scenario="suites/upgrade/test_downgrade.py::test_other")
    assert reporter(cell(**REGRESSED), cell(build=LXD_502), other) == 0
    titles = [issue["title"] for issue in reporter.github.issues]
    assert titles == [
        "regressed: lxd-15313 on incus 7.0 (test_one_extension_less)",
        "regressed: lxd-15313 on incus 7.0 (test_other)",
    ]
    body = reporter.github.issues[0]["body"]
    assert "https://github.com/canonical/lxd/issues/15313" in body
    assert "- incus 7.0.2-3~bpo13+1\n" in body
    assert "member m2 is not ONLINE" in body


def test_a_second_time_nothing_changes(reporter):
    reporter(cell(**REGRESSED))
    before = json.dumps(reporter.github.issues)
    reporter.github.changes.clear()
    assert reporter(cell(**REGRESSED)) == 0
    assert json.dumps(reporter.github.issues) == before
    assert reporter.github.changes == []


def test_the_next_build_of_the_track_is_added_to_the_issue(reporter, monkeypatch):
    reporter(cell(**REGRESSED))
    reporter.github.issues[0]["state"] = "CLOSED"
    newer = cell(**REGRESSED).build.model_copy(update={"version": "7.0.3-1"})
    for name, value in {"SERVER_URL": "https://example.org", "REPOSITORY": "o/r", "RUN_ID": "5"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    reporter(cell(**REGRESSED, build=newer))
    (issue,) = reporter.github.issues
    assert issue["state"] == "OPEN"
    link = "https://example.org/o/r/actions/runs/5"
    assert f"- incus 7.0.2-3~bpo13+1\n- incus 7.0.3-1 ({link})\n" in issue["body"]
    assert reporter.github.comments == {1: [f"Seen on incus 7.0.3-1. Run: {link}"]}
    # What a person has closed stays closed as long as nothing new is seen.
    issue["state"] = "CLOSED"
    reporter(cell(**REGRESSED), cell(**REGRESSED, build=newer))
    assert issue["state"] == "CLOSED"


def test_other_tracks_and_other_verdicts_have_issues_of_their_own(reporter):
    failed = cell(observation="other-failure", build=INCUS_604)
    reporter(cell(**REGRESSED), cell(**REGRESSED, build=INCUS_604), failed.model_copy(update={"scenario": "s"}))
    assert len({issue["title"] for issue in reporter.github.issues}) == 3


def test_what_the_lab_blocked_is_one_issue_if_the_policy_minds(reporter):
    blocked = [cell(observation="lab-error", scenario=f"suites/a.py::test_{number}") for number in range(6)]
    reporter(*blocked[:2], cell(build=INCUS_604), cell(build=LXD_502))
    assert reporter.github.issues == []
    reporter(*blocked, cell(build=INCUS_604))
    (issue,) = reporter.github.issues
    assert issue["title"] == "The lab blocked cells"
    assert issue["body"].count("- incus 7.0.2") == 6


def test_what_is_expected_opens_nothing(reporter, capsys):
    assert reporter(cell()) == 0
    assert reporter.github.changes == []
    assert capsys.readouterr().out == "nothing calls for a person\n"


def test_a_night_on_which_all_fails_does_not_flood(reporter, capsys):
    many = [cell(**REGRESSED, scenario=f"suites/a.py::test_{number}") for number in range(30)]
    reporter(*many, arguments=["--most=20"])
    assert len(reporter.github.issues) == 20
    assert capsys.readouterr().out.count("not opened, as 20 were opened already") == 10
    reporter(*many)
    assert len(reporter.github.issues) == 30


def test_what_a_product_prints_mentions_nobody_and_ends_nothing(reporter):
    reason = "```` @everyone\n<!-- clusterproof: {} -->\n# heading\n\x1b[31mred"
    reporter(cell(**REGRESSED | {"reason": reason}))
    body = reporter.github.issues[0]["body"]
    fence = "`" * 5
    before, inside, after = body.split(fence)
    assert "@everyone" in inside
    assert "@everyone" not in before + after
    assert "\x1b" not in body
    reporter(cell(**REGRESSED | {"reason": reason}))
    assert len(reporter.github.issues) == 1


def test_an_issue_of_somebody_else_with_our_label(reporter):
    for body in (None, "", "<!-- clusterproof: {} -->", "<!-- clusterproof: {not JSON} -->"):
        number = len(reporter.github.issues) + 1
        reporter.github.issues.append({"number": number, "state": "OPEN", "title": "x", "body": body})
    assert reporter(cell(**REGRESSED)) == 0
    assert len(reporter.github.issues) == 5


def test_an_issue_lists_only_the_latest_builds(reporter):
    base = cell(**REGRESSED)
    for number in range(60):
        build = base.build.model_copy(update={"version": f"7.0.{number}-1"})
        reporter(base.model_copy(update={"build": build}))
    (issue,) = reporter.github.issues
    assert issue["body"].count("- incus 7.0.") == 50
    assert "- incus 7.0.59-1" in issue["body"]


def test_a_dry_run_only_says_what_it_found(reporter, capsys):
    reporter(cell(**REGRESSED), arguments=["--dry-run"])
    assert reporter.github.changes == []
    assert "regressed: lxd-15313 on incus 7.0" in capsys.readouterr().out


def test_the_step_unpacks_the_run_and_asks_gh(runner, cells):
    write_run(runner.root / "merged", cells)
    subprocess.run(["tar", "-czf", "run.tar.gz", "merged"], cwd=runner.root, check=True)
    runner.program("gh", 'case "$1 $2" in "issue list") echo "[]" ;; "issue create") cat >>bodies ;; esac')
    done = runner.run("report-issues")
    assert done.returncode == 0, done.stderr
    made = [call for call in runner.calls if call.startswith("gh issue create")]
    assert len(made) == done.stdout.count("opened ") > 0
    assert (runner.root / "bodies").read_text().count("<!-- clusterproof:") == len(made)
    assert read(runner.root / "joined/merged/results.jsonl")[0]


def test_gh_that_fails_is_one_line(runner, cells):
    write_run(runner.root / "merged", cells)
    subprocess.run(["tar", "-czf", "run.tar.gz", "merged"], cwd=runner.root, check=True)
    runner.program("gh", "echo 'HTTP 403: no' >&2; exit 1")
    done = runner.run("report-issues")
    assert done.returncode == 1
    assert done.stderr == "report_issues.py: gh issue list: HTTP 403: no\n"
