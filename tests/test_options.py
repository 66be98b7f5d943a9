"""The command line: builds, the run's id and folder, and which sessions run scenarios."""

from __future__ import annotations

import os
import types
from pathlib import Path

import pytest

from fixtures import options
from tests.fakes import FakeCheckout

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def checkout(pytester, monkeypatch, tmp_path) -> FakeCheckout:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    checkout = FakeCheckout(pytester, monkeypatch)
    checkout.ledger()
    checkout.scenario("def test_it(case): pass")
    return checkout


def cells(result) -> list[str]:
    return [line.partition("[")[2].rstrip("]") for line in result.outlines if "::test_it[" in line]


COLLECT = ("--collect-only", "-q")


@pytest.mark.parametrize(
    ("wanted", "nearest"), [("incus@9.9", "incus@7.5.1"), ("incos", "incus"), ("lxd@", "lxd@")]
)
def test_an_unknown_build_is_one_clear_line(checkout, wanted, nearest):
    result = checkout.run("--build", wanted)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.strip()]
    assert f'build "{wanted}" is not in lab/products (nearest: {nearest}' in line
    assert line.endswith("list them with python -m lab builds")
    assert not (checkout.root / "out").exists()


def test_all_builds_by_default(checkout):
    assert cells(checkout.run(*COLLECT)) == [
        "incus@6.0.4",
        "incus@7.0.2",
        "incus@7.5.1",
        "lxd@5.0.2",
        "lxd@5.0.2+git20231211",
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["incus@7.0.2"], ["incus@7.0.2"]),
        (["lxd"], ["lxd@5.0.2", "lxd@5.0.2+git20231211"]),
        (["incus@7.5.1", "incus@6.0.4", "incus@6.0.4"], ["incus@6.0.4", "incus@7.5.1"]),
        (["lxd@5.0.2", "lxd"], ["lxd@5.0.2", "lxd@5.0.2+git20231211"]),
    ],
)
def test_some_builds(checkout, wanted, expected):
    args = [arg for name in wanted for arg in ("--build", name)]
    assert cells(checkout.run(*COLLECT, *args)) == expected


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("--gate", "lax", "strict"),
        ("--gate", "qualification", "python -m reports gate --policy qualification --build"),
        ("--evidence", "some", "failing"),
    ],
)
def test_values_of_options(checkout, option, value, choices):
    result = checkout.run(option, value)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option}*{value}*{choices}*"])


def config(*args: str, dir=options.ROOT, **only: bool):  # noqa: A002
    option = {"collectonly": False, "help": False, "plan": False, "plan_json": None, "substrates": False} | only
    return types.SimpleNamespace(
        args=list(args),
        option=types.SimpleNamespace(**option),
        invocation_params=types.SimpleNamespace(dir=Path(dir)),
    )


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["suites"], True),
        (["suites/upgrade"], True),
        (["suites/upgrade/test_downgrade.py::test_one[incus@7.0.2]"], True),
        (["."], True),
        (["tests", "suites/upgrade"], True),
        (["tests"], False),
        (["tests/test_builds.py::test_x"], False),
        (["suites-of-others"], False),
    ],
)
def test_sessions_that_run_scenarios(checkout, args, expected):
    assert options.runs_suites(config(*args, dir=checkout.root)) is expected


def test_where_the_command_is_given_counts(checkout):
    assert options.runs_suites(config("upgrade", dir=checkout.root / "suites"))
    assert options.runs_suites(config("../suites", dir=checkout.root / "tests"))
    assert options.runs_suites(config(str(checkout.root / "suites"), dir="/"))
    assert not options.runs_suites(config("suites", dir=checkout.root / "tests"))


@pytest.mark.parametrize("only", ["collectonly", "help", "plan", "plan_json"])
def test_a_session_that_only_shows_runs_nothing(checkout, only):
    assert not options.runs_suites(config("suites", dir=checkout.root, **{only: True}))


def test_listing_writes_nothing(checkout):
    checkout.run(*COLLECT)
    checkout.run("--help")
    assert not (checkout.root / "out").exists()


def test_sessions_without_scenarios_write_nothing(checkout):
    (checkout.root / "tests").mkdir()
    (checkout.root / "tests" / "test_unit.py").write_text("def test_y(): pass")
    result = checkout.run("tests")
    assert result.ret == pytest.ExitCode.OK
    assert not (checkout.root / "out").exists()


def test_the_run_s_folder(checkout, pytester, monkeypatch):
    configured = pytester.parseconfigure("suites", "--out", "elsewhere")
    run, folder = configured.stash[options.RUN], configured.stash[options.FOLDER]
    assert folder == checkout.root / "elsewhere" / run.id
    assert configured.option.xmlpath == str(folder / "junit.xml")
    assert configured.option.allure_report_dir == str(folder / "allure-results")
    monkeypatch.chdir(checkout.root / "suites")
    assert pytester.parseconfigure("../suites").stash[options.FOLDER].parent == checkout.root / "out"


def test_what_a_person_asked_for_stands(pytester):
    configured = pytester.parseconfigure("suites", "--junitxml=mine.xml", "--alluredir=mine")
    assert configured.option.xmlpath == "mine.xml"
    assert configured.option.allure_report_dir == "mine"


def test_workers_belong_to_the_run_of_their_controller(pytester, monkeypatch):
    bound = []
    monkeypatch.setattr(options, "_die_with_parent", lambda: bound.append(1))
    configured = pytester.parseconfigure("suites")
    node = types.SimpleNamespace(config=configured, workerinput={})
    options.pytest_configure_node(node)
    run = configured.stash[options.RUN].id
    assert node.workerinput == {"clusterproof_run": run, "clusterproof_revisions": {}}
    worker = pytester.parseconfig("suites")
    worker.workerinput = node.workerinput
    worker.workerinput["workerid"] = "gw0"
    assert bound == []
    options.pytest_configure(worker)
    assert bound == [1]
    assert worker.stash[options.RUN].id == configured.stash[options.RUN].id
    assert worker.stash[options.FOLDER] == configured.stash[options.FOLDER]
    assert worker.option.xmlpath is None


def test_the_lab_host_is_not_asked_for_listing(checkout, monkeypatch):
    monkeypatch.setenv("LAB_HOST", os.devnull)
    assert checkout.run(*COLLECT).ret == pytest.ExitCode.OK
