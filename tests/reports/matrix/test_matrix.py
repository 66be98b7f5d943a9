import io
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from clusterproof.builds import Expectation
from clusterproof.reports.commands import app
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.terminal import terminal
from clusterproof.reports.results.verdicts import Observation, Verdict
from clusterproof.reports.site.publish import publish
from tests.pages import HOSTILE
from tests.samples import (
    BUILDS,
    DOWNGRADE,
    INCUS_702,
    LXD_502,
    START,
    build,
    cell,
    record,
    sample_ledger,
    sample_run,
    stand_in_checkout,
    write_ledger,
    write_run,
)


@pytest.fixture
def ledger(tmp_path):
    return sample_ledger(tmp_path)


@pytest.fixture
def run(ledger):
    return sample_run(ledger)


def test_columns_are_ordered_by_product_track_and_debian_version(run, ledger):
    matrix = build_matrix(reversed(run), ledger)
    assert [column.build for column in matrix.columns] == BUILDS
    names = [build("lxd@5.9", "5.9", "x"), build("lxd@5.10", "5.10", "x"), build("incus@6", "6.0", "6")]
    matrix = build_matrix([cell(build=one) for one in names], {})
    assert [column.id for column in matrix.columns] == ["incus@6.0", "lxd@5.9", "lxd@5.10"]


def test_columns_are_grouped_by_track(ledger):
    names = [
        build("incus@7.0.2", "7.0.2", "7.0"),
        build("incus@6.23", "6.23", "feature"),
        build("incus@6.0.4", "6.0.4", "6.0"),
        build("incus@10.0", "10.0", "10.0"),
        build("incus@7.1", "7.1", "feature"),
        build("incus@6.0.6", "6.0.6", "6.0"),
    ]
    matrix = build_matrix([cell(build=one) for one in names], ledger)
    assert [column.build.version for column in matrix.columns] == [
        "6.0.4",
        "6.0.6",
        "7.0.2",
        "10.0",
        "6.23",
        "7.1",
    ]


def test_what_a_bake_found_out_is_not_lost_to_a_cell_that_did_not_run(ledger):
    bare = build("incus@7.0.2", INCUS_702.version, "7.0")
    for order in ([bare, INCUS_702], [INCUS_702, bare]):
        (column,) = build_matrix([cell(build=one) for one in order], ledger).columns
        assert column.build.api_extensions == 562


def test_a_meeting_is_the_worst_of_its_scenarios(ledger):
    cells = [
        cell(build=LXD_502, observation=Observation.SYMPTOM, expectation=Expectation.AFFECTED),
        cell(build=LXD_502, scenario="suites/x.py::test_repair", role="workaround"),
        cell(build=LXD_502, scenario="suites/x.py::test_control", role="control"),
    ]
    on_build = build_matrix(cells, ledger).cells["lxd-15313"]["lxd@5.0.2-5+deb12u6"]
    assert on_build.verdict is Verdict.REPRODUCED
    assert [one.role for one in on_build.scenarios] == ["reproduction", "workaround", "control"]
    cells.append(cells[1].model_copy(update={"scenario": "y", "verdict": Verdict.REGRESSED}))
    on_build = build_matrix(cells, ledger).cells["lxd-15313"]["lxd@5.0.2-5+deb12u6"]
    assert (on_build.verdict, on_build.expected) == (Verdict.REGRESSED, False)


def test_a_symptom_that_was_brought_about_says_nothing_of_the_build(ledger):
    injected = {"build": LXD_502, "role": "injection", "scenario": "y", "expectation": Expectation.AFFECTED}
    fine, seen = cell(build=LXD_502), cell(observation=Observation.SYMPTOM, **injected)
    column = "lxd@5.0.2-5+deb12u6"
    assert build_matrix([fine, seen], ledger).cells["lxd-15313"][column].verdict is Verdict.CONFORMS
    assert build_matrix([seen], ledger).cells["lxd-15313"][column].verdict is Verdict.REPRODUCED
    missed = build_matrix([fine, cell(**injected)], ledger).cells["lxd-15313"][column]
    assert (missed.verdict, missed.expected) == (Verdict.SILENTLY_FIXED, False)


def test_of_repeats_the_newest_is_shown_and_all_are_counted(ledger):
    later = START + timedelta(minutes=5)
    cells = [cell(started=later, reason="later"), cell(observation=Observation.SYMPTOM)]
    on_build = build_matrix(cells, ledger).cells["lxd-15313"]["incus@7.0.2-3~bpo13+1"]
    (scenario,) = on_build.scenarios
    assert (scenario.verdict, scenario.reason) == (Verdict.CONFORMS, "later")
    assert scenario.repeats == {Verdict.REGRESSED: 1, Verdict.CONFORMS: 1}
    # It cannot be taken back by trying again.
    assert scenario.stands is on_build.verdict is Verdict.REGRESSED


def test_rows_are_the_issues_of_the_run(run, ledger):
    matrix = build_matrix([*run, cell(issue="gone-1")], ledger)
    assert [row.id for row in matrix.rows] == [
        "lxd-15218",
        "lxd-11534",
        "lxd-15313",
        "rolling-upgrade",
        "gone-1",
    ]
    assert matrix.rows[-1].title == "gone-1 (not in the ledger)"
    assert (matrix.summary.documented, matrix.summary.judged) == (4, 4)


def test_json_is_documented_deterministic_and_whole(run, ledger, tmp_path):
    record(tmp_path / "h", run)
    with History(tmp_path / "h") as history:
        text = build_matrix(run, ledger, history, problems=["x:1: torn"]).json_text()
        assert text == build_matrix(run, ledger, history, problems=["x:1: torn"]).json_text()
    data = json.loads(text)
    assert list(data) == ["format", "runs", "generated_from", "summary", "columns", "rows", "cells"]
    assert data["runs"][0]["id"] == "20260302-2104"
    assert data["generated_from"] == {"file": "results.jsonl", "results": 24, "problems": ["x:1: torn"]}
    assert data["columns"][1]["build"]["schema"] == 77
    assert data["rows"][2]["proof"]["state"] == "proven"
    assert data["rows"][1]["proof"]["state"] == "one-sided"
    on_build = data["cells"]["rolling-upgrade"]["incus@6.0.4-2+deb13u10"]
    assert on_build["verdict"] == "clear"
    assert on_build["scenarios"][0]["peer"]["name"] == "incus@7.0.2"
    assert "lxd@5.0.2+git20231211.1364ae4-9+deb13u7" not in data["cells"]["rolling-upgrade"]
    assert data["summary"]["verdicts"]["regressed"] == 1
    assert (data["summary"]["unexpected"], data["summary"]["blocked"]) == (4, 1)


def printed(matrix, **options):
    out = io.StringIO()
    terminal(matrix, Console(file=out, **options))
    return out.getvalue()


def test_a_terminal_gets_a_table(run, ledger):
    text = printed(build_matrix(run, ledger), force_terminal=True, width=160, color_system=None)
    assert re.search(r"│ lxd-15313 +│ ✓ free of it +│ ✓ free of it +│ \+ free of it +│ ● has the bug", text)
    assert re.search(r"│ +│ +│   discovered +│", text) or re.search(r"│   discovered ", text)
    assert "24 results: has the bug: 1 regressed, " in text


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "width": 60, "color_system": None}])
def test_elsewhere_and_where_it_is_narrow_there_are_lines(run, ledger, options):
    lines = printed(build_matrix(run, ledger), **options).splitlines()
    assert len(lines) == 20
    assert (
        f"lxd-15313        {'incus@7.0.2-3~bpo13+1':37}    ✓ free of it       conforms        (2 scenarios)"
        in lines
    )


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "width": 160, "color_system": None}])
def test_a_terminal_without_signs_still_has_the_words(run, ledger, options):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, "ascii", write_through=True)
    named = run[1].model_copy(update={"build": INCUS_702.model_copy(update={"name": "incus@\u00e9"})})
    terminal(build_matrix([*run, named], ledger, problems=["\u00e9"]), Console(file=file, **options))
    assert b"  free of it" in raw.getvalue()
    assert b"? free of it" in raw.getvalue()
    assert b"? free of it       conforms" not in raw.getvalue()  # which is another verdict's sign


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("force", [True, False])
def test_hostile_text_does_not_steer_the_terminal(text, force):
    hostile = cell(issue=f"[red]{text}[/]", build=INCUS_702.model_copy(update={"name": text}))
    shown = printed(
        build_matrix([hostile], {}, problems=[text]), force_terminal=force, width=300, color_system=None
    )
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]" in shown


def test_an_empty_run_in_a_terminal(ledger):
    assert printed(build_matrix([], ledger)) == "No results: nothing was judged in this run.\n"


def test_publish_writes_everything_and_may_be_repeated(run, ledger, tmp_path):
    folder = write_run(tmp_path / "out/r1", run)

    def files():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    published = publish(folder, ledger, now=START)
    before = files()
    assert published.cells == run
    assert published.problems == []
    assert published.matrix.rows[2].proof.state == "proven"
    publish(folder, ledger, now=START)
    assert before == files()
    assert sorted(one.name for one in folder.iterdir()) == [
        "badges",
        "builds",
        "cells",
        "compare.html",
        "feed.xml",
        "index.html",
        "issues",
        "lookup.html",
        "matrix.json",
        "results.jsonl",
        "runs",
        "words.html",
    ]
    assert (tmp_path / "out/history.sqlite").is_file()


def test_publish_keeps_the_matrix_where_the_history_is_broken(run, ledger, tmp_path):
    folder = write_run(tmp_path / "out/r1", run)
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"run"')
    (tmp_path / "broken").write_text("nothing of the kind" * 99)
    published = publish(folder, ledger, tmp_path / "broken")
    assert len(published.missing) == 1
    assert len(published.problems) == 2
    assert 'history "' in (folder / "index.html").read_text().replace("&#34;", '"')
    assert json.loads((folder / "matrix.json").read_text())["rows"][2]["proof"] is None


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    stand_in_checkout(tmp_path, monkeypatch)
    return tmp_path


def test_the_command_rebuilds_the_matrix(checkout, run):
    write_run(checkout / "out/latest", run)
    result = CliRunner().invoke(app, ["matrix"])
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("page: out/latest/index.html\n")
    assert "✓ free of it       conforms" in result.stdout
    assert (checkout / "out/latest/index.html").is_file()


@pytest.mark.parametrize("command", ["matrix", "gate"])
def test_no_run_and_no_results_are_told_in_one_line(checkout, command):
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 64
    assert result.stderr == (
        'error: no run folder "out/latest"; make one with clusterproof qualify, '
        "or name another with --run\n"
    )
    (checkout / "out/r1").mkdir(parents=True)
    result = CliRunner().invoke(app, [command, "--run", "out/r1"])
    assert result.exit_code == 64
    assert result.stderr.startswith('error: no results in "out/r1" (results.jsonl is missing); make one')


def test_a_broken_ledger_is_told_line_by_line(checkout):
    write_run(checkout / "out/latest", [])
    write_ledger(checkout, {"upgrade/test_a": DOWNGRADE, "upgrade/test_b": "x ="})
    result = CliRunner().invoke(app, ["matrix"])
    assert result.exit_code == 64
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: suites/upgrade/test_") for line in lines)


def test_the_module_runs(checkout, run):
    write_run(checkout / "out/latest", run)
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-m", "clusterproof", "gate"],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith(
        "gate (expected): not passed: 4 cells not as expected"
    )
