"""Shards of a run, joined to one run."""

from __future__ import annotations

import json
import os
import random

import pytest
from typer.testing import CliRunner

from clusterproof.reports.commands import app
from clusterproof.reports.plan import plan as plans
from clusterproof.reports.plan.join_shards import JoinError, join
from clusterproof.reports.results.crashes import judge_crashes
from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.results.results import append, read
from clusterproof.reports.results.verdicts import Verdict
from clusterproof.reports.site.publish import publish
from tests.samples import sample_run, stand_in_checkout, write_ledger, write_run
from tests.shards import name, write_shards


@pytest.fixture
def ledger(tmp_path):
    return load_ledger(write_ledger(tmp_path / "checkout"))


@pytest.fixture
def cells(ledger):
    return sample_run(ledger)


def verdicts(matrix):
    return {
        (row, column, one.scenario, one.role): (one.verdict, one.stands, one.observation)
        for row, issues_on_builds in matrix.cells.items()
        for column, on_build in issues_on_builds.items()
        for one in on_build.scenarios
    }


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_make_the_matrix_of_one_run(tmp_path, ledger, cells, count):
    whole = publish(write_run(tmp_path / "whole", cells), ledger)
    folders = write_shards(tmp_path / "apart", cells, count)
    random.Random(1).shuffle(folders)
    assert join(folders, tmp_path / "joined") == []
    joined = publish(tmp_path / "joined", ledger, tmp_path / "other.sqlite")
    assert joined.missing == []
    assert verdicts(joined.matrix) == verdicts(whole.matrix)
    assert [column.id for column in joined.matrix.columns] == [column.id for column in whole.matrix.columns]
    assert joined.matrix.summary == whole.matrix.summary


def test_what_shards_say_of_daemons_is_one_statement_of_the_run(tmp_path, cells):
    issue = load_ledger()["daemon-does-not-crash"]
    folders = write_shards(tmp_path, cells, 3)
    for folder in folders:
        for judgement in judge_crashes(read(folder / "results.jsonl")[0], issue, "ab12"):
            append(folder / "results.jsonl", judgement)
    join(folders, tmp_path / "joined")
    joined, missing = read(tmp_path / "joined" / "results.jsonl")
    judgements = [cell for cell in joined if cell.issue == issue.id]
    whole = judge_crashes(cells, issue, "ab12")
    assert {cell.key: cell.verdict for cell in judgements} == {cell.key: cell.verdict for cell in whole}
    assert len(judgements) == len(whole)
    assert len(joined) == len(cells) + len(whole)
    assert missing == []


def test_the_evidence_comes_along_and_the_shards_stay(tmp_path, cells):
    folders = write_shards(tmp_path, cells, 2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    join(folders, tmp_path / "joined")
    joined, _ = read(tmp_path / "joined" / "results.jsonl")
    kept = [cell for cell in joined if cell.evidence]
    assert kept
    for cell in kept:
        text = (tmp_path / "joined" / cell.evidence / "transcript.jsonl").read_text()
        assert text == f"{name(cell)}\n"
    assert {path: path.read_bytes() for path in before} == before


def test_cells_of_a_missing_shard_are_missed(tmp_path, ledger, cells):
    first, second, _third = write_shards(tmp_path, cells, 3)
    problems = join([second, first], tmp_path / "joined")
    assert len(problems) == 1
    assert problems[0].startswith("of the 3 shards of cut ")
    assert problems[0].endswith(" these are missing: 3")
    (missing,) = publish(tmp_path / "joined", ledger).missing
    assert missing.startswith(f"{len(cells[2::3])} of {len(cells)} planned cells have no result")


def test_a_result_that_cannot_be_read_is_missed(tmp_path, ledger, cells):
    folders = write_shards(tmp_path, cells, 2)
    file = folders[1] / "results.jsonl"
    *lines, _last = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, '{"run": "r\n']))
    assert join(folders, tmp_path / "joined") == []
    (missing,) = publish(tmp_path / "joined", ledger).missing
    assert missing.startswith(f"1 of {len(cells)} planned cells have no result")


def refused(folders, out) -> str:
    with pytest.raises(JoinError) as error:
        join(folders, out)
    assert not out.exists()
    assert [path for path in out.parent.iterdir() if path.name.startswith(".")] == []
    return str(error.value)


def test_shards_of_different_cuts(tmp_path, cells):
    one = write_shards(tmp_path / "a", cells, 2)
    other = write_shards(tmp_path / "b", cells[1:], 2)
    assert "they are of different cuts" in refused([one[0], other[1]], tmp_path / "joined")


def test_a_shard_that_is_there_twice(tmp_path, cells):
    one = write_shards(tmp_path, cells, 2)
    again = one[0].rename(tmp_path / "again")
    first = write_shards(tmp_path / "more", cells, 2)[0]
    assert "are both shard 1/2" in refused([first, again], tmp_path / "joined")


def test_two_runs_of_one_name(tmp_path, cells):
    folders = [write_shards(tmp_path / at, cells, 2)[0] for at in ("a", "b")]
    assert "name each run once" in refused(folders, tmp_path / "joined")


def test_a_shard_and_a_whole_run(tmp_path, cells):
    shard = write_shards(tmp_path, cells, 2)[0]
    whole = write_run(tmp_path / "whole", cells)
    assert "is no shard" in refused([shard, whole], tmp_path / "joined")


def test_shards_of_different_suites(tmp_path, cells):
    folders = write_shards(
        tmp_path, cells, 2, **{"run-1": {"suite": "a" * 16}, "run-2": {"suite": "b" * 16}}
    )
    assert "ran different suites" in refused(folders, tmp_path / "joined")


def test_a_plan_that_is_none(tmp_path, cells):
    folders = write_shards(tmp_path, cells, 2)
    (folders[0] / plans.FILENAME).write_text('{"format": 1}')
    assert "cannot be understood" in refused(folders, tmp_path / "joined")


def test_a_folder_that_is_taken(tmp_path, cells):
    folders = write_shards(tmp_path, cells, 2)
    (tmp_path / "joined").mkdir()
    with pytest.raises(JoinError, match="is there already"):
        join(folders, tmp_path / "joined")


def test_runs_that_are_no_shards(tmp_path, ledger, cells):
    folders = [
        write_run(tmp_path / run, [cell.model_copy(update={"run": run}) for cell in share])
        for run, share in (("x", cells[:4]), ("y", cells[4:]))
    ]
    assert join(folders, tmp_path / "joined") == []
    published = publish(tmp_path / "joined", ledger)
    assert len(published.cells) == len(cells)
    assert Verdict.REPRODUCED in published.matrix.summary.verdicts


def test_what_a_plan_file_says_is_what_was_planned(tmp_path, cells):
    folder = write_shards(tmp_path, cells, 2)[1]
    plan = plans.read(folder)
    assert plan.shard.count == 2
    assert json.loads((folder / plans.FILENAME).read_text())["shard"]["cut"] == plan.shard.cut
    assert {one.name for one in plan.cells} == set(plan.shard.shares[1])


def test_evidence_of_one_cell_in_two_runs(tmp_path, cells):
    one = next(cell for cell in cells if cell.evidence)
    for run in ("x", "y"):
        folder = write_run(tmp_path / run, [one.model_copy(update={"run": run})])
        (folder / one.evidence).mkdir(parents=True)
        (folder / one.evidence / "log").write_text(run)
    join([tmp_path / "x", tmp_path / "y"], tmp_path / "joined")
    joined, _ = read(tmp_path / "joined" / "results.jsonl")
    assert [cell.evidence for cell in joined] == [one.evidence, one.evidence.replace("evidence/", "evidence/y/")]
    assert [(tmp_path / "joined" / cell.evidence / "log").read_text() for cell in joined] == ["x", "y"]


# The command


def test_shards_on_the_command_line(tmp_path, monkeypatch, ledger, cells):
    stand_in_checkout(tmp_path / "checkout", monkeypatch)
    write_shards(tmp_path / "machines", cells, 3)
    merged = CliRunner().invoke(app, ["merge", str(tmp_path / "machines"), "--history", "out/history.sqlite"])
    count = len(cells)
    assert f"{count} results, {count} of them new; out/history.sqlite has {count} results" in merged.output
    arguments = ["join", str(tmp_path / "machines"), "--run", "out/merged", "--history", "out/history.sqlite"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "page: out/merged/index.html" in done.output
    whole = publish(write_run(tmp_path / "whole", cells), ledger)
    told = json.loads((tmp_path / "checkout/out/merged/matrix.json").read_text())
    assert told["summary"] == json.loads(whole.matrix.json_text())["summary"]
    assert CliRunner().invoke(app, ["gate", "--run", "out/merged"]).exit_code == 1
    # A second time nothing is made anew, and nothing is lost.
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 64
    assert 'error: "out/merged" is there already; name another folder' in done.output


def test_a_missing_shard_on_the_command_line(tmp_path, monkeypatch, cells):
    monkeypatch.chdir(tmp_path / "checkout")
    first, _ = write_shards(tmp_path / "machines", [cell for cell in cells if cell.verdict.expected], 2)
    done = CliRunner().invoke(app, ["join", str(first), "--run", "out/merged"])
    assert done.exit_code == 0
    assert "problem: of the 2 shards of cut" in done.output
    done = CliRunner().invoke(app, ["gate", "--run", "out/merged"])
    assert done.exit_code == 2
    assert "planned cells have no result" in done.output


def test_evidence_that_is_a_link_out_of_its_run_is_not_joined(tmp_path, cells):
    one = next(cell for cell in cells if cell.evidence)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("of the computer")
    run = write_run(tmp_path / "x", [one])
    (run / one.evidence).parent.mkdir(parents=True)
    (run / one.evidence).symlink_to(tmp_path / "outside")
    join([run], tmp_path / "joined")
    assert (tmp_path / "joined/results.jsonl").exists()
    assert not list((tmp_path / "joined").rglob("secret"))


def test_no_evidence_is_written_to_where_a_link_in_other_evidence_leads(tmp_path, cells):
    """One run's evidence has a link out of it; the other one calls a folder behind it its evidence."""
    one = next(cell for cell in cells if cell.evidence)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the computer")
    first = write_run(tmp_path / "x", [one])
    (first / one.evidence).mkdir(parents=True)
    (first / one.evidence / "log").write_text("x")
    (first / one.evidence / "link").symlink_to(outside)
    (first / one.evidence / "file").symlink_to(outside / "secret")
    os.mkfifo(first / one.evidence / "pipe")
    behind = one.model_copy(update={"evidence": f"{one.evidence}/link/deep", "run": "y"})
    second = write_run(tmp_path / "y", [behind])
    (second / behind.evidence).mkdir(parents=True)
    (second / behind.evidence / "log").write_text("y")
    join([first, second], tmp_path / "joined")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    joined = tmp_path / "joined"
    assert not [path for path in joined.rglob("*") if path.is_symlink() or path.is_fifo()]
    assert (joined / one.evidence / "log").read_text() == "x"
    assert not (joined / one.evidence / "file").exists()
