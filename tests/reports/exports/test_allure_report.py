"""Allure's report as a part of the site: what is done around Node, which is replaced here."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clusterproof.reports.commands import app
from clusterproof.reports.exports import allure_report
from clusterproof.reports.exports.allure_report import DATA, AllureError, AllureMissingError, make_report
from clusterproof.reports.exports.allure_results import SITE
from clusterproof.reports.history.history import History
from tests.samples import BUILDS, cell, record, sample_ledger

PAGE = "<html><head></head></html>"


class Node:
    """Takes Node's place: npm installs a program, which makes a report of what it was given."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.npm = 0
        self.rc = 0
        self.lost = 0
        self.says = ""
        self.facts: dict = {}

    def __call__(self, command, folder, limit):  # noqa: ARG002
        words = [str(word) for word in command]
        self.calls.append(words)
        rc = self.rc
        if words[1] == "ci":
            rc = self.npm
            if not rc:
                program = folder / "node_modules/allure/cli.js"
                program.parent.mkdir(parents=True)
                program.touch()
        elif not rc:
            results = list((folder / "results").glob("*-result.json"))
            self.facts = json.loads((folder / "report.json").read_text())
            self.configuration = {path.name: path.read_text() for path in folder.glob("*.mjs")}
            (folder / "report").mkdir()
            (folder / "report/index.html").write_text(PAGE)
            stats = {"stats": {"total": len(results) - self.lost}}
            (folder / "report/summary.json").write_text(json.dumps(stats))
        return subprocess.CompletedProcess(words, rc, "", self.says)


@pytest.fixture
def node(monkeypatch, tmp_path):
    node = Node()
    monkeypatch.setattr(allure_report, "_node_runs", node)
    monkeypatch.setattr(allure_report, "_node", lambda: tmp_path / "wheel/bin/node")
    return node


@pytest.fixture
def make(tmp_path):
    record(tmp_path / "h", [cell(build=build, run=run) for build in BUILDS for run in ("r1", "r2")])

    def make():
        with History(tmp_path / "h") as history:
            return make_report(tmp_path / "site", history, {}, sample_ledger(tmp_path), tmp_path / "tools")

    return make


def test_the_report_is_part_of_the_site(make, node, tmp_path):
    made = make()
    assert made == (tmp_path / "site/allure/index.html", len(BUILDS), len(BUILDS), 1)
    assert [one["version"] for one in node.facts["environments"]] == [build.version for build in BUILDS]
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["allure"]  # and nothing half done
    assert not list(tmp_path.glob(".allure.*"))


def test_what_was_fetched_once_is_not_fetched_again(make, node, tmp_path):
    make()
    make()
    assert [call[1] for call in node.calls] == ["ci", "generate", "generate"]
    assert "--ignore-scripts" in node.calls[0]
    (kept,) = (tmp_path / "tools").iterdir()
    assert (kept / "package-lock.json").read_bytes() == (DATA / "package-lock.json").read_bytes()


def test_where_npm_is_out_of_reach_the_site_goes_without(make, node, tmp_path):
    node.npm, node.says = 1, "\nnpm error code ENOTFOUND\nnpm error network\n"
    with pytest.raises(AllureMissingError, match=r"could not fetch Allure \(npm error code ENOTFOUND\)"):
        make()
    assert list((tmp_path / "tools").iterdir()) == []
    assert not (tmp_path / "site/allure").exists()


@pytest.mark.parametrize(
    ("rc", "lost", "words"),
    [(1, 0, r"exit status 1: out of memory"), (0, 2, "shows 3 of 5 results")],
)
def test_a_report_that_fails_leaves_the_earlier_one(make, node, rc, lost, words):
    page = make().page
    page.write_text("earlier")
    node.rc, node.lost, node.says = rc, lost, "out of memory"
    with pytest.raises(AllureError, match=words):
        make()
    assert page.read_text() == "earlier"


def test_the_site_is_made_with_and_without_allure(node, tmp_path, monkeypatch):
    sample_ledger(tmp_path)
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "h", [cell()])
    args = ["site", "--allure", "--history", "h", "--out", "site", "--tools", "tools"]
    node.npm = 1
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0
    assert result.stderr.startswith("no Allure report: npm could not fetch Allure (no output)")
    assert (tmp_path / "site/index.html").is_file()
    node.npm = 0
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0
    assert result.stdout.startswith("allure: site/allure/index.html: 1 tests on 1 builds, 0 earlier runs\n")
    node.rc = 1
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 64
    assert result.stderr.startswith("error: Allure made no report (exit status 1")
    assert result.stderr.count("\n") == 1


def test_a_folder_with_something_else_is_not_touched(node, tmp_path, monkeypatch):
    sample_ledger(tmp_path)
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "h", [cell()])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    result = CliRunner().invoke(app, ["site", "--allure", "--history", "h", "--out", "mine"])
    assert result.exit_code == 64
    assert "holds something else" in result.stderr
    assert node.calls == []


def test_versions_are_pinned_and_no_registry_is_named():
    package = json.loads((DATA / "package.json").read_text())
    lock = json.loads((DATA / "package-lock.json").read_text())
    assert all(re.fullmatch(r"[0-9.]+", version) for version in package["dependencies"].values())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    others = {name: one for name, one in lock["packages"].items() if name}
    assert all(one["integrity"].startswith("sha512-") for one in others.values())
    assert not any("resolved" in one for one in others.values())
    assert not re.search(r"https?://", (DATA / "package-lock.json").read_text())


def test_node_is_the_wheel_s(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(AllureMissingError, match="tox run -e report brings it"):
        allure_report._node()


def test_the_configuration_stays_beside_its_facts(make, node):
    make()
    used = set(re.findall(r"\breport\.(\w+)", node.configuration["allurerc.mjs"])) - {"json", "mjs"}
    used |= {"tools", "site"}
    assert used == set(node.facts)
    assert "const { tools, site } = JSON.parse" in node.configuration["site-report.mjs"]
    assert Path(node.facts["tools"]).name == "cli.js"
    assert node.facts["site"] == SITE
