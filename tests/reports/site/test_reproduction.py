"""A result seen again: the script runs what changed the cluster, whatever stood in the transcript."""

import subprocess

import pytest

from clusterproof.reports.results.timeline import Section, Step, Timeline
from clusterproof.reports.site.reproduction import reproduction
from tests.pages import HOSTILE
from tests.samples import LXD_502, build, cell, sample_ledger


@pytest.fixture
def row(tmp_path):
    from clusterproof.reports.matrix.from_results import build_matrix  # noqa: PLC0415

    return build_matrix([cell()], sample_ledger(tmp_path)).rows[0]


def step(number, verb, what, *sections, mark=""):
    return Step(number, 1.0, "m1", verb, what, 0.1, 1, mark, "", "", sections)


def test_the_script_has_what_changed_the_cluster_and_no_looks(row):
    steps = (
        step(1, "lab", "make m1"),
        step(2, "run", "lxd init --preseed", Section("standard input", "config: {}")),
        step(
            3,
            "api",
            "POST /1.0/cluster/members/m1/state",
            Section("request", '{\n "action": "evacuate"\n}'),
        ),
        step(4, "api", "GET /1.0/cluster"),
        step(5, "run", "systemctl show lxd"),
        step(6, "fault", "kill"),
        step(7, "check", "it survives", mark="fails"),
        step(8, "run", "journalctl --sync"),
    )
    found = reproduction(cell(build=LXD_502), row, Timeline(steps), ("a line",))
    commands = [line for line in found.script.splitlines() if line and not line.startswith("#")]
    assert commands == [
        "lxd init --preseed <<'END_OF_INPUT'",
        "config: {}",
        "END_OF_INPUT",
        """lxc query --wait --request POST --data '{ "action": "evacuate" }' /1.0/cluster/members/m1/state""",
    ]
    assert "# fault: kill\n# check: it survives: fails\n" in found.script
    assert "a line" in found.report


def test_without_a_transcript_there_is_no_script(row):
    assert reproduction(cell(), row, Timeline(), ()).script == ""


@pytest.mark.parametrize("text", [*HOSTILE, "x\nrm -rf /", "a\rb", "$(touch no)"])
def test_names_and_notes_stay_comments(row, text):
    """What a shell would run must be what the scenario ran."""
    called = build("lxd@5.0.2", "5.0.2-5", "5.0").model_copy(update={"name": f"lxd@{text}"})
    titled = row.model_copy(update={"title": text, "id": text})
    steps = (step(1, "fault", text), step(2, "check", text, mark=text), step(3, "run", "true"))
    script = reproduction(cell(build=called), titled, Timeline(steps), ()).script
    ran = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
    assert ran == []  # what came after the last check is evidence
    subprocess.run(["sh", "-n"], input=script.encode(), check=True, timeout=30)
