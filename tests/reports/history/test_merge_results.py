import json
import shutil
import sqlite3
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from clusterproof.reports.commands import app
from clusterproof.reports.history import merge_results as merging
from clusterproof.reports.history.history import History
from clusterproof.reports.history.merge_results import MergeError, export, merge
from clusterproof.reports.results.results import scan, write_planned
from clusterproof.reports.results.verdicts import Observation
from tests.samples import INCUS_604, LXD_502, START, cell, sample_ledger, sample_run, write_run


def at(hour, **changes):
    return cell(run=f"run-{hour}", started=START + timedelta(hours=hour), **changes)


def content(path):
    with History(path) as history:
        return list(history.lines())


@pytest.fixture
def machines(tmp_path):
    """Run folders of three machines, one of them as CI's artifacts are, and a link to the newest."""
    ledger = sample_ledger(tmp_path)
    for number in range(3):
        folder = tmp_path / "machines" / f"m{number}" / "out" / f"r{number}"
        write_run(folder, sample_run(ledger, run=f"r{number}", start=START + timedelta(days=number)))
        (folder / "evidence").mkdir()
        (folder / "evidence" / "results.jsonl").write_text("no result of a run\n")
    (tmp_path / "machines/m2/out/latest").symlink_to("r2")
    return tmp_path / "machines"


def test_runs_of_many_machines_become_one_history(machines, tmp_path):
    one = merge([machines], tmp_path / "one")
    each = len(content(tmp_path / "one")) // 3
    assert (one.files, one.results, one.new, one.runs, one.total) == (3, 3 * each, 3 * each, 3, 3 * each)
    assert one.problems == []
    runs = [machines / "m2/out/r2", machines / "m0/out/r0/results.jsonl", machines / "m1"]
    merge(runs[:1], tmp_path / "other")
    assert merge(runs, tmp_path / "other").new == 2 * each
    assert content(tmp_path / "other") == content(tmp_path / "one")


def test_merging_again_changes_nothing(machines, tmp_path):
    merge([machines], tmp_path / "h")
    before = content(tmp_path / "h")
    again = merge([machines, machines / "m0", machines / "m2/out/latest"], tmp_path / "h")
    assert (again.files, again.new) == (3, 0)
    assert content(tmp_path / "h") == before


SEVERAL = [
    at(hour, build=build, observation=seen, suite=suite)
    for hour in range(3)
    for build in (LXD_502, INCUS_604)
    for seen, suite in ((Observation.CONFORMS, "a"), (Observation.LAB_ERROR, "b"))
]


@settings(max_examples=15)  # each one waits for the disk
@given(st.permutations(SEVERAL), st.lists(st.integers(0, len(SEVERAL)), max_size=3))
def test_however_results_are_split_and_ordered_the_history_is_the_same(tmp_path_factory, order, cuts):
    folder = tmp_path_factory.mktemp("merge")
    bounds = [0, *sorted(cuts), len(SEVERAL)]
    for number, (begin, end) in enumerate(pairwise(bounds)):
        write_run(folder / f"r{number}", order[begin:end])
        merge([folder / f"r{number}"], folder / "h")
    write_run(folder / "all", SEVERAL)
    merge([folder / "all"], folder / "expected")
    assert content(folder / "h") == content(folder / "expected")


def test_what_is_exported_is_what_is_merged(machines, tmp_path):
    merge([machines], tmp_path / "h")
    assert export(tmp_path / "h", tmp_path / "history.jsonl") == len(content(tmp_path / "h"))
    merged = merge([tmp_path / "history.jsonl"], tmp_path / "copy")
    assert merged.problems == []
    assert content(tmp_path / "copy") == content(tmp_path / "h")
    export(tmp_path / "copy", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "history.jsonl").read_bytes()


def test_a_torn_last_line_is_told_and_the_rest_kept(machines, tmp_path):
    torn = machines / "m1/out/r1/results.jsonl"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-30])
    merged = merge([machines], tmp_path / "h")
    assert merged.new == 3 * whole.count(b"\n") - 1
    (problem,) = merged.problems
    assert f"{torn}:{len(whole.splitlines())}: cut off in the middle: " in problem
    # The machine finished the line later on.
    torn.write_bytes(whole)
    assert merge([machines], tmp_path / "h").new == 1


def test_cells_that_never_ran_are_told(machines, tmp_path):
    write_planned(machines / "m0/out/r0", ["suites/a.py::test_a[incus@7.0.2]"])
    (problem,) = merge([machines], tmp_path / "h").problems
    assert problem == (
        f"{machines}/m0/out/r0/results.jsonl: 1 of 1 planned cells have no result: suites/a.py::test_a"
    )


def test_fault_injected_clusters_are_left_out(tmp_path):
    write_run(tmp_path / "r", [at(1), at(2, fault="kill-member")])
    merged = merge([tmp_path / "r"], tmp_path / "h")
    assert (merged.results, merged.new, merged.fault_injected) == (2, 1, 1)


def unreadable(folder):
    (folder / "results.jsonl").unlink()
    (folder / "results.jsonl").mkdir()
    return folder / "results.jsonl"


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def prose(folder):
    (folder / "README.md").write_text("# Results\n\nThere are none here.\n")
    return folder / "README.md"


def database(folder):
    with sqlite3.connect(folder / "h.sqlite") as db:
        db.execute("CREATE TABLE x (y)")
    return folder / "h.sqlite"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda folder: folder / "nowhere", "no file or folder"),
        (empty, "no results in"),
        (unreadable, "no results in"),
        (prose, "no line of"),
        (database, "clusterproof export --history"),
    ],
)
def test_what_is_no_source_is_refused_and_nothing_merged(tmp_path, source, words):
    good = write_run(tmp_path / "good", [at(1)])
    bad = source(write_run(tmp_path / "bad", [at(2)]))
    with pytest.raises(MergeError, match=words) as caught:
        merge([good, bad], tmp_path / "h")
    assert f'"{bad}"' in str(caught.value)
    assert content(tmp_path / "h") == []


def test_what_cannot_be_read_in_the_middle_leaves_the_history_as_it_was(tmp_path, monkeypatch):
    for number in range(2):
        write_run(tmp_path / f"r{number}", [at(number)])
    merge([write_run(tmp_path / "before", [at(9)])], tmp_path / "h")
    real = scan

    def failing(path):
        if path.parent.name == "r1":
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(merging, "scan", failing)
    with pytest.raises(MergeError, match=r'r1/results.jsonl" cannot be read: Input/output error') as caught:
        merge([tmp_path / "r0", tmp_path / "r1"], tmp_path / "h")
    assert "nothing was merged" in str(caught.value)
    assert len(content(tmp_path / "h")) == 1


# The commands


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_commands(machines, tmp_path):
    history, lines = tmp_path / "out/history.sqlite", tmp_path / "x/history.jsonl"
    with (machines / "m0/out/r0/results.jsonl").open("a") as file:
        file.write("{}\n" * 30)
    result = run("merge", machines, "--history", history)
    assert result.exit_code == 0
    total = len(content(history))
    problems = result.stderr.splitlines()
    assert problems[0].endswith(f"results.jsonl:{total // 3 + 1}: run: missing")
    assert problems[-1] == "problem: and 10 more like these"
    assert len(problems) == 21
    assert result.stdout == (
        f"merged 3 files: {total} results, {total} of them new; {history} has {total} results of 3 runs\n"
    )
    result = run("export", "--history", history, "--out", lines)
    assert (result.exit_code, result.stdout) == (0, f"{lines}: {total} results\n")
    assert all(json.loads(line)["run"] in ("r0", "r1", "r2") for line in lines.read_text().splitlines())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["merge", "nowhere"], 'no file or folder "nowhere"'),
        (["export", "--history", "nowhere"], 'no history "nowhere"'),
        (["export", "--history", "h", "--out", "h/x"], 'cannot use "h/x": '),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    merge([write_run(tmp_path / "r", [at(1)])], tmp_path / "h")
    result = run(*args)
    assert result.exit_code == 64
    assert result.stderr.startswith(f"error: {words}")
    assert result.stderr.count("\n") == 1
