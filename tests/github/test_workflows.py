"""What holds of every workflow of GitHub; ``tox run -e workflows`` checks their syntax and more."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPT = re.compile(r"\.github/scripts/[a-z_-]+(\.py)?")
WRITES = {
    ("nightly", "publish"): {"pages", "id-token"},
    ("nightly", "issues"): {"issues"},
}


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def workflow(path) -> dict:
    return yaml.safe_load(path.read_text())


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_are_the_five():
    assert [path.stem for path in WORKFLOWS] == ["ci", "nightly", "qualify", "reproduce", "weekly"]


def test_actions_are_pinned_by_commit_with_their_version_beside(path):
    used = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.fullmatch(r"(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_one_version_of_an_action_everywhere():
    used = {
        tuple(re.findall(r"uses: (\S+)@(\S+) # (\S+)", line)[0])
        for path in WORKFLOWS
        for line in path.read_text().splitlines()
        if "uses:" in line
    }
    assert len(used) == len({action for action, _, _ in used})


def test_a_job_may_do_no_more_than_it_says(path, workflow):
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        may = job["permissions"]
        assert {one for one, access in may.items() if access != "read"} == WRITES.get((path.stem, name), set())


def test_checking_out_leaves_no_token_behind(workflow):
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_somebody_typed_is_never_taken_for_shell(workflow):
    for step in steps(workflow):
        assert "${{" not in step.get("run", "")


def test_steps_are_scripts_that_are_there(workflow):
    for step in steps(workflow):
        if command := step.get("run"):
            for found in SCRIPT.finditer(command):
                script = ROOT / found[0]
                assert script.is_file()
                assert script.suffix == ".py" or os.access(script, os.X_OK)
            assert "\n" not in command.strip()
            assert SCRIPT.search(command) or command.startswith("tox run -e")


def test_every_job_ends(workflow):
    assert all(0 < job["timeout-minutes"] <= 360 for job in workflow["jobs"].values())


def test_no_secret_and_no_write_in_what_a_fork_starts(workflow):
    # YAML 1.1 takes "on" for true.
    events = workflow.get("on", workflow.get(True))
    assert "pull_request_target" not in events
    assert "workflow_run" not in events
    if "pull_request" in events:
        text = str(workflow)
        assert "secrets." not in text
        assert "github.token" not in text
        assert all(set(job["permissions"].values()) <= {"read"} for job in workflow["jobs"].values())


def test_only_steps_that_ask_github_have_a_token(workflow):
    having = [step["run"] for step in steps(workflow) if "GH_TOKEN" in step.get("env", {})]
    for command in having:
        script = (ROOT / SCRIPT.search(command)[0]).read_text()
        assert "gh" in re.findall(r"[\w-]+", script) or "report_issues.py" in script
