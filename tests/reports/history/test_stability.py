from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from clusterproof.builds import Expectation
from clusterproof.reports.commands import app
from clusterproof.reports.history.stability import stability
from clusterproof.reports.results.verdicts import Observation
from tests.samples import INCUS_604, INCUS_702, START, cell, write_run

SEEN = {
    "c": Observation.CONFORMS,
    "s": Observation.SYMPTOM,
    "o": Observation.OTHER_FAILURE,
    "b": Observation.LAB_ERROR,
    "n": Observation.NOT_RUN,
}


def history(seen, **changes):
    """One cell's results, the oldest first, a letter for each."""
    return [
        cell(run=f"r{n}", started=START + timedelta(hours=n), observation=SEEN[letter], **changes)
        for n, letter in enumerate(seen)
    ]


@pytest.mark.parametrize(
    ("seen", "times", "stable"),
    [
        ("cc", 2, True),
        ("c", 2, False),
        ("sccc", 3, True),
        ("ccsc", 2, False),
        ("cbc", 2, False),
        ("bbb", 3, False),
        ("sss", 3, True),
        ("ncc", 2, True),
        ("ccn", 2, False),
    ],
)
def test_a_cell_is_stable_that_gave_one_verdict_in_its_last_runs(seen, times, stable):
    assert stability(history(seen), times).stable is stable


@given(st.text(alphabet="csob", min_size=1, max_size=20), st.integers(2, 12))
def test_the_order_of_reading_does_not_matter_and_one_flip_is_never_stable(seen, times):
    found = stability(reversed(history(seen)), times)
    assert found == stability(history(seen), times)
    last = seen[-times:]
    assert found.stable is (len(last) == times and len(set(last)) == 1 and last[0] != "b")


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        ("ccc", "stable"),
        ("cc", "too few runs"),
        ("sc", "unstable"),
        ("bb", "unstable"),
        ("occc", "stable"),
    ],
)
def test_a_cell_that_ran_too_seldom_is_told_from_one_that_changed(seen, word):
    assert next(stability(history(seen), 3).lines(every=True)).startswith(f"{word}: ")


def test_what_never_ran_is_counted_apart():
    never = history("nnn", build=INCUS_604)
    found = stability([*never, *history("cc")], 2)
    assert (len(found.cells), found.idle, found.stable) == (1, 1, True)
    assert not stability(never, 2).stable
    assert not stability([], 2).stable


def test_clusters_that_were_fault_injected_do_not_count():
    fault_injected = history("so", fault="kill-daemon")
    assert stability([*fault_injected, *history("cc")], 2).stable


def test_the_lines_name_what_flips_and_what_it_showed():
    cells = [
        *history("cco"),
        *history("sss", build=INCUS_604, peer=INCUS_702, expectation=Expectation.AFFECTED),
    ]
    found = stability(cells, 3)
    scenario = "lxd-15313: test_one_extension_less on"
    flips = f"unstable: {scenario} incus@7.0.2 (container): 1 failed, before 2 conforms"
    stable = f"stable: {scenario} incus@6.0.4 with incus@7.0.2 (container): 3 reproduced"
    tail = [
        "lxd-15313: 1 of 2 cells stable, 1 to 3 in a row",
        "stable: 1 of 2 cells gave one verdict in their last 3 runs",
    ]
    assert list(found.lines()) == [flips, *tail]
    assert sorted(found.lines(every=True)) == sorted([flips, stable, *tail])


@pytest.fixture
def runs(tmp_path):
    for result in history("ccc"):
        write_run(tmp_path / "out" / result.run, [result])
    (tmp_path / "out/latest").symlink_to("r2")
    return tmp_path / "out"


def invoke(*arguments):
    return CliRunner().invoke(app, ["stability", *map(str, arguments)])


def test_the_command_reads_folders_of_runs_and_each_run_once(runs):
    good = invoke(runs, runs / "r1", runs / "latest", "--times", "3", "--all")
    assert good.exit_code == 0
    assert "on incus@7.0.2 (container): 3 conforms" in good.output
    few = invoke(runs)
    assert few.exit_code == 2
    assert "stable: 0 of 1 cells gave one verdict in their last 10 runs" in few.output


def test_the_command_refuses_what_is_no_run_in_one_line(tmp_path):
    refused = invoke(tmp_path / "none")
    assert refused.exit_code == 64
    assert len(refused.output.splitlines()) == 1
    assert "Traceback" not in refused.output


def test_a_result_that_is_missing_may_have_been_another_verdict(runs):
    with (runs / "r2/results.jsonl").open("a") as file:
        file.write('{"run": "cut')
    found = invoke(runs, "--times", "3")
    assert found.exit_code == 2
    assert "problem: " in found.output
    assert "stable: 1 of 1 cells" in found.output


def test_only_runs_of_the_scenario_s_current_text_count():
    earlier = history("sss", text="a")
    found = stability([*earlier, *history("___ccc".replace("_", "n"), text="b")[3:]], 3)
    assert found.stable
    assert "3 conforms, 3 of an earlier text of the scenario" in next(found.lines(every=True))
    assert not stability([*earlier, *history("nnncc", text="b")[3:]], 3).stable


def test_a_cell_that_has_no_run_of_the_current_text_yet_ran_too_seldom():
    elsewhere = history("nnnccc", text="b", build=INCUS_604)[3:]
    found = stability([*history("ccc", text="a"), *elsewhere], 3)
    assert not found.stable
    assert sorted(one.word(3) for one in found.cells) == ["stable", "too few runs"]


def test_the_command_can_be_asked_about_some_issues(runs):
    write_run(runs / "r9", history("c", issue="lxd-1"))
    assert invoke(runs, "--times", "3").exit_code == 2
    assert invoke(runs, "--times", "3", "--issue", "lxd-15313").exit_code == 0
    unknown = invoke(runs, "--issue", "lxd-2")
    assert unknown.exit_code == 64
    assert '"lxd-2"; there are some of lxd-1, lxd-15313' in unknown.output
