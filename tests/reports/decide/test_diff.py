"""What changes from one build to another, in words, as data, and on a page."""

import itertools
import json

import pytest
from typer.testing import CliRunner

from clusterproof.reports.commands import app
from clusterproof.reports.decide.diff import (
    IssueChange,
    UnknownBuildError,
    change,
    compare,
    find_build,
    predecessor,
    table,
)
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.results.verdicts import Observation, Verdict
from tests.pages import HOSTILE, load
from tests.samples import (
    INCUS_604,
    INCUS_702,
    build,
    cell,
    record,
    sample_ledger,
    sample_run,
    stand_in_checkout,
)

V = Verdict


@pytest.fixture
def matrix(tmp_path):
    ledger = sample_ledger(tmp_path)
    return build_matrix(sample_run(ledger), ledger)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (V.CONFORMS, V.REGRESSED, "new here"),
        (V.CLEAR, V.DISCOVERED, "new here"),
        (V.REPRODUCED, V.CONFORMS, "gone here"),
        (V.REPRODUCED, V.SILENTLY_FIXED, "gone here"),
        (V.REPRODUCED, V.REGRESSED, "in both"),
        (V.REPRODUCED, V.FAILED, "fails here"),
        (V.FAILED, V.FAILED, "fails in both"),
        (V.FAILED, V.CLEAR, "works here"),
        (V.BLOCKED, V.REPRODUCED, "has the bug"),
        (None, V.CONFORMS, "free of it"),
        (V.CLEAR, V.CONFORMS, "in neither"),
        (V.CONFORMS, V.BLOCKED, "not known"),
        (V.REPRODUCED, V.UNTESTABLE, "not known"),
        (V.REPRODUCED, None, "not known"),
    ],
)
def test_what_becomes_of_an_issue(before, after, word):
    assert change(before, after) == word


def test_every_pair_of_verdicts_has_a_word_and_every_word_a_meaning():
    sides = [None, *Verdict]
    words = table(sides)
    found = {words[before or ""][after or ""] for before, after in itertools.product(sides, sides)}
    assert found == {*IssueChange}
    assert all(word.meaning.endswith(".") for word in IssueChange)
    # What the lab could not judge is never a difference between builds.
    for unjudged, side in itertools.product((None, V.BLOCKED, V.UNTESTABLE, V.NOT_APPLICABLE), sides):
        assert not words[side or ""][unjudged or ""].differs
        assert not change(unjudged, side).differs or side is V.FAILED


def test_two_builds_are_compared(matrix):
    before, after = find_build(matrix, "incus@6.0.4"), find_build(matrix, "incus@7.0.2")
    found = compare(matrix, before, after)
    assert {one.issue: one.change for one in found.issues} == {
        "rolling-upgrade": IssueChange.BROKEN,
        "lxd-15218": IssueChange.ABSENT,
        "lxd-15313": IssueChange.FINE,
    }
    assert found.summary == {IssueChange.BROKEN: 1, IssueChange.ABSENT: 1, IssueChange.FINE: 1}
    assert [one.issue for one in found.having(IssueChange.BROKEN)] == ["rolling-upgrade"]
    back = compare(matrix, after, before)
    assert {one.issue: one.change for one in back.issues}["rolling-upgrade"] is IssueChange.FIXED


def test_of_several_revisions_the_newest_is_meant_and_the_whole_version_is_exact():
    revisions = [build("lxd@5.0.2", version, "5.0") for version in ("5.0.2-10", "5.0.2-9", "5.0.2")]
    matrix = build_matrix([cell(build=one) for one in revisions], {})
    assert find_build(matrix, "lxd@5.0.2-9").build.version == "5.0.2-9"
    # This is also a whole version, of another build.
    assert find_build(matrix, "lxd@5.0.2").build.version == "5.0.2"
    matrix = build_matrix([cell(build=one) for one in revisions[:2]], {})
    assert find_build(matrix, "lxd@5.0.2").build.version == "5.0.2-10"


def test_a_build_without_results_is_refused_with_the_nearest(matrix):
    with pytest.raises(
        UnknownBuildError, match=r'"incus@7\.0" has no results \(nearest: incus@7\.0\.2\)'
    ):
        find_build(matrix, "incus@7.0")
    with pytest.raises(UnknownBuildError, match="as there are none at all"):
        find_build(build_matrix([], {}), "x")


def test_the_build_before(matrix):
    def before(name):
        found = predecessor(matrix, find_build(matrix, name))
        return found.build.name if found else None

    assert before("lxd@5.0.2+git20231211") == "lxd@5.0.2"
    assert before("incus@7.5.1") == "incus@7.0.2"
    assert before("incus@6.0.4") is None


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    stand_in_checkout(tmp_path, monkeypatch)
    record(tmp_path / "out/history.sqlite", sample_run(sample_ledger(tmp_path)))
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, ["diff", *arguments])


@pytest.mark.usefixtures("checkout")
def test_the_command_tells_it_in_lines():
    result = invoke("incus@6.0.4", "incus@7.0.2")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "Incus 6.0.4 (6.0.4-2+deb13u10, track 6.0) -> Incus 7.0.2 (7.0.2-3~bpo13+1, track 7.0)"
    )
    assert lines[1].split("  ")[0] == "new here"
    assert "+ free of it (clear) -> ! has the bug (discovered)" in lines[1]
    assert lines[-1] == "1 new here, 1 free of it, 1 in neither"


@pytest.mark.usefixtures("checkout")
def test_the_command_gives_data():
    data = json.loads(invoke("incus@6.0.4", "incus@7.0.2", "--json").stdout)
    assert data["before"]["build"]["schema"] == 73
    assert data["summary"] == {"new here": 1, "free of it": 1, "in neither": 1}
    first = data["issues"][0]
    assert (first["issue"], first["change"]) == ("rolling-upgrade", "new here")
    assert (first["before"]["verdict"], first["after"]["runs"]) == ("clear", 1)


def test_the_command_writes_a_page_that_stands_alone(checkout):
    assert invoke("incus@6.0.4", "incus@7.0.2", "--page", "a/b.html").exit_code == 0
    page = load(checkout / "a/b.html")
    assert page.links == ["#content"]
    chosen = [one["value"] for one in page.all("option") if "selected" in one]
    assert chosen == ["incus@6.0.4-2+deb13u10", "incus@7.0.2-3~bpo13+1"]


@pytest.mark.usefixtures("checkout")
def test_what_keeps_it_from_comparing_is_told_in_one_line():
    result = invoke("incus@6.0.4", "incus@9")
    assert (result.exit_code, result.stderr.count("\n")) == (64, 1)
    assert result.stderr.startswith('error: build "incus@9" has no results (nearest: incus@')
    result = CliRunner().invoke(app, ["diff", "a", "b", "--history", "gone"])
    assert result.stderr.startswith('error: no history "gone"; make one')


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_does_not_steer_the_terminal(checkout, text):
    name = INCUS_702.model_copy(update={"name": text, "track": text, "version": "8"})
    cells = [
        cell(build=INCUS_604, issue=text),
        cell(build=name, issue=text, observation=Observation.SYMPTOM),
    ]
    record(checkout / "other", cells)
    result = invoke("incus@6.0.4", "incus@8", "--history", "other")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert result.stdout.replace("\n", "").isprintable()
