"""What proofs say of the ledger, and the command that keeps them."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from clusterproof.builds import Bound, Range
from clusterproof.exit_status import ExitStatus
from clusterproof.reports.commands import app
from clusterproof.reports.matrix.proving import (
    Tally,
    contradictions,
    evidence_of,
    merged,
    sightings,
    worth_keeping,
    wrong_claims,
)
from clusterproof.reports.results.ledger import Issue, load_ledger
from clusterproof.reports.results.proofs import ProofLine, read_proofs
from clusterproof.reports.results.verdicts import Observation
from tests.samples import START, build, cell, stand_in_checkout, write_run

SYMPTOM, CONFORMS = Observation.SYMPTOM, Observation.CONFORMS
VERSIONS = [f"6.0.{number}" for number in range(8)]


def issue(*ranges):
    return Issue.model_validate(
        {
            "id": "x", "title": "x", "kind": "bug", "area": "a", "products": ["incus", "lxd"],
            "upstream": ["https://example.org/1"], "symptom": {"words": "x", "shown": ["x"]}, "ranges": ranges,
        }
    )  # fmt: skip


def bounded(**ends):
    """A range of track 6.0 with these bounds, by version, all read in code."""
    return Range(
        product="incus", track="6.0", **{end: Bound(version=at, proof="code") for end, at in ends.items()}
    )


def seen(observations, test="test_a"):
    """The proofs of ``observations`` by version, each of a day of its own."""
    found = []
    for number, (version, observation) in enumerate(observations.items()):
        facts = {"build": build(f"incus@{version}", version, "6.0"), "started": START + timedelta(days=number)}
        facts |= {"observation": observation, "scenario": f"suites/a/test_x.py::{test}"}
        one = cell(**facts, expectation="affected")
        found.append(ProofLine.of(one, ["behind"]))
    return found


FREE = Range(product="incus", track="6.0", affected=False, proof="code")
WHOLE = Range(product="incus", track="6.0", proof="code")


class TestKeeping:
    def kept(self, range_, observations):
        return [one.build.version for one in worth_keeping(issue(range_), seen(observations))]

    def test_the_nearest_on_either_side_of_a_bound(self):
        symptoms, rest = dict.fromkeys(VERSIONS[:4], SYMPTOM), dict.fromkeys(VERSIONS[4:], CONFORMS)
        assert self.kept(bounded(fixed="6.0.4"), symptoms | rest) == ["6.0.3", "6.0.4"]

    def test_both_bounds_of_a_range(self):
        observations = dict.fromkeys(VERSIONS[:2], CONFORMS) | dict.fromkeys(VERSIONS[2:5], SYMPTOM)
        observations |= dict.fromkeys(VERSIONS[5:], CONFORMS)
        found = self.kept(bounded(introduced="6.0.2", fixed="6.0.5"), observations)
        assert found == ["6.0.1", "6.0.2", "6.0.4", "6.0.5"]

    @pytest.mark.parametrize(("range_", "observation"), [(FREE, CONFORMS), (WHOLE, SYMPTOM)])
    def test_the_oldest_and_newest_of_a_whole_track(self, range_, observation):
        assert self.kept(range_, dict.fromkeys(VERSIONS, observation)) == ["6.0.0", "6.0.7"]

    def test_what_contradicts_the_ledger(self):
        observations = dict.fromkeys(VERSIONS, CONFORMS) | {"6.0.3": SYMPTOM}
        assert self.kept(FREE, observations) == ["6.0.0", "6.0.3", "6.0.7"]

    def test_each_scenario_s_own(self):
        proofs = [*seen({"6.0.3": SYMPTOM}), *seen({"6.0.2": SYMPTOM, "6.0.5": CONFORMS}, test="test_b")]
        assert worth_keeping(issue(bounded(fixed="6.0.4")), proofs) == proofs

    @given(
        st.sampled_from([FREE, WHOLE, bounded(fixed="6.0.4"), bounded(introduced="6.0.2", fixed="6.0.5")]),
        st.dictionaries(st.sampled_from(VERSIONS), st.sampled_from([SYMPTOM, CONFORMS])),
    )
    def test_what_is_kept_shows_as_much_as_all(self, range_, observations):
        one, proofs = issue(range_), seen(observations)
        kept = worth_keeping(one, proofs)
        (before,), (after,) = evidence_of(one, proofs), evidence_of(one, kept)
        assert (before.introduced, before.fixed) == (after.introduced, after.fixed)
        assert bool(before.shown) == bool(after.shown)
        assert wrong_claims(one, proofs) == wrong_claims(one, kept)
        assert contradictions(one, proofs) == contradictions(one, kept)
        assert worth_keeping(one, kept) == kept


class TestContradictions:
    def test_quote_both(self):
        (line,) = contradictions(issue(bounded(fixed="6.0.4")), seen({"6.0.3": SYMPTOM, "6.0.5": SYMPTOM}))
        assert line == (
            "the range incus 6.0 says fixed 6.0.4, and incus@6.0.5 showed the symptom "
            "(test_a, run 20260302-2104)"
        )

    def test_are_of_the_range_of_the_scenario(self):
        other = Range(product="incus", track="6.0", scenario="test_b", affected=False, proof="code")
        one = issue(WHOLE, other)
        assert contradictions(one, seen({"6.0.1": SYMPTOM})) == []
        (line,) = contradictions(one, seen({"6.0.1": SYMPTOM}, test="test_b"))
        assert line.startswith("the range incus 6.0 of test_b says not affected, and incus@6.0.1 showed")

    def test_of_a_track_without_a_range_there_are_none(self):
        lxd = Range(product="lxd", affected=False, proof="code")
        assert contradictions(issue(lxd), seen({"6.0.1": SYMPTOM, "6.0.2": CONFORMS})) == []


class TestClaims:
    @pytest.mark.parametrize(
        ("proof", "observations", "says"),
        [
            ("code", {"6.0.3": SYMPTOM, "6.0.4": CONFORMS}, ['write proof = "run", runs showed both sides']),
            ("run", {"6.0.3": SYMPTOM, "6.0.4": CONFORMS}, []),
            ("run", {"6.0.4": CONFORMS}, ['write proof = "code", runs showed only what is from it on']),
            ("run", {"6.0.1": SYMPTOM}, ['write proof = "code", runs showed only what is before']),
            ("run", {}, ['write proof = "code", runs showed neither side']),
            ("code", {"6.0.1": SYMPTOM}, []),
        ],
    )
    def test_of_a_bound(self, proof, observations, says):
        range_ = Range(product="incus", track="6.0", fixed=Bound(version="6.0.4", proof=proof))
        found = wrong_claims(issue(range_), seen(observations))
        assert found == [f"the range incus 6.0, fixed 6.0.4: {one}" for one in says]

    def test_of_a_whole_track(self):
        shown, free = seen({"6.0.1": CONFORMS}), FREE.model_copy(update={"proof": "run"})
        assert wrong_claims(issue(FREE), shown) == ['the range incus 6.0: write proof = "run", runs showed it']
        assert wrong_claims(issue(free), shown) == []
        assert wrong_claims(issue(free), []) == [
            'the range incus 6.0: write proof = "code", runs showed no build of it'
        ]


def test_the_tally_counts_sides_and_tracks():
    one = issue(bounded(introduced="6.0.2", fixed="6.0.5"), Range(product="lxd", affected=False, proof="code"))
    assert Tally.of(evidence_of(one, seen({"6.0.3": SYMPTOM, "6.0.5": CONFORMS}))) == (1, 1, 2, 0, 1)


def test_what_the_history_saw_goes_before_its_proof():
    one = issue(WHOLE)
    history = sightings(one, seen({"6.0.1": SYMPTOM}))
    found = merged(history, sightings(one, seen({"6.0.0": SYMPTOM, "6.0.1": SYMPTOM})))
    assert sorted(one.version for one in found) == ["6.0.0", "6.0.1"]
    assert history[0] in found


class TestCommand:
    @pytest.fixture
    def checkout(self, tmp_path, monkeypatch):
        stand_in_checkout(tmp_path, monkeypatch)
        return tmp_path

    def run(self, checkout, *cells):
        return write_run(checkout / "out" / "one", list(cells))

    def prove(self, *args):
        return CliRunner().invoke(app, ["prove", *map(str, args)])

    def test_keeps_what_a_run_showed_with_the_lines_of_its_evidence(self, checkout):
        shown = cell(
            build=build("lxd@5.0.2", "5.0.2-5", "5.0"), expectation="affected", observation=SYMPTOM,
            evidence="evidence/a",
        )  # fmt: skip
        run = self.run(checkout, shown)
        (run / "evidence/a").mkdir(parents=True)
        (run / "evidence/a/symptom.txt").write_text("m2: this node's version is behind\n")
        result = self.prove(run)
        (line,) = read_proofs(load_ledger()["lxd-15313"])
        assert line.lines == ("m2: this node's version is behind",)
        assert "bounds: 0 shown on both sides, 1 on one" in result.stdout

    def test_says_what_it_contradicts_and_fails(self, checkout):
        shown = cell(build=build("incus@6.0.3", "6.0.3", "6.0"), expectation="fixed", observation=SYMPTOM)
        result = self.prove(self.run(checkout, shown))
        assert result.exit_code == ExitStatus.STOPPED
        said = "test_downgrade.toml: the range incus 6.0 says fixed 6.0.2, and incus@6.0.3"
        assert said in result.stderr

    def test_adds_to_what_is_kept_and_says_the_same_again(self, checkout):
        older = self.run(checkout, cell(build=build("incus@6.0.1", "6.0.1", "6.0"), expectation="affected",
                                        observation=SYMPTOM))  # fmt: skip
        after = cell(build=build("incus@6.0.2", "6.0.2", "6.0"), run="two")
        newer = write_run(checkout / "out" / "two", [after])
        self.prove(older)
        self.prove(newer)
        kept = (checkout / "suites/upgrade/test_downgrade.proofs.jsonl").read_text()
        assert [json.loads(line)["run"] for line in kept.splitlines()] == ["20260302-2104", "two"]
        self.prove(older, newer)
        assert (checkout / "suites/upgrade/test_downgrade.proofs.jsonl").read_text() == kept

    def test_an_issue_that_the_ledger_lacks_is_passed_over(self, checkout):
        assert self.prove(self.run(checkout, cell(issue="daemon-does-not-crash"))).stderr.count("daemon") == 0

    def test_a_damaged_proof_is_one_line(self, checkout):
        (checkout / "suites/upgrade/test_downgrade.proofs.jsonl").write_text("{\n")
        result = self.prove(self.run(checkout, cell()))
        assert result.exit_code == ExitStatus.USAGE
        assert result.stderr.startswith("error: suites/upgrade/test_downgrade.proofs.jsonl:1: line: Invalid")
