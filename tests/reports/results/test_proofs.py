"""Proofs as lines beside the ledger: what becomes one, which of several counts, and what is refused."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.reports.results.proofs import (
    ProofError,
    ProofLine,
    gathered,
    proofs_file,
    read_proofs,
    write_proofs,
)
from clusterproof.reports.results.verdicts import Observation
from tests.samples import BUILDS, INCUS_604, INCUS_702, LXD_502, START, cell, sample_ledger

AFFECTED = {"expectation": "affected", "observation": Observation.SYMPTOM}


@pytest.fixture
def issue(tmp_path):
    return sample_ledger(tmp_path)["lxd-15313"]


def proof(number=0, observation=Observation.SYMPTOM, build=LXD_502, **changes):
    """The proof of a run that has this number."""
    facts = {"run": f"run-{number}", "started": START + timedelta(days=number), "build": build}
    made = ProofLine.of(cell(**AFFECTED | {"observation": observation} | facts | changes), ["version is behind"])
    assert made
    return made


def test_a_reproduction_is_one_with_the_lines_that_showed_it():
    found = ProofLine.of(cell(**AFFECTED, build=LXD_502, peer=INCUS_604), ["a\x1b[31m line\nof two", "b", "c"])
    assert found
    assert (found.build, found.peer, found.observation) == (LXD_502, INCUS_604, "symptom")
    assert len(found.lines) == 2
    assert not any(character in line for line in found.lines for character in "\x1b\n")


def test_correct_behaviour_is_shown_by_no_line():
    assert proof(observation=Observation.CONFORMS).lines == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "workaround", "expectation": "not-affected"},
        {"role": "control", "expectation": "not-affected"},
        {"role": "injection"},
        {"fault": "kill-daemon"},
        *({"observation": one} for one in Observation if one not in ("symptom", "conforms")),
    ],
)
def test_nothing_else_is_one(changes):
    assert ProofLine.of(cell(**AFFECTED | changes), []) is None


def test_what_is_written_is_read_again_in_the_order_of_builds(issue):
    proofs = [proof(build=one) for one in (INCUS_702, LXD_502, INCUS_604)]
    write_proofs(issue, proofs)
    assert [one.build for one in read_proofs(issue)] == [INCUS_604, INCUS_702, LXD_502]
    assert proofs_file(issue).name == "test_downgrade.proofs.jsonl"
    write_proofs(issue, [])
    assert not proofs_file(issue).exists()
    assert read_proofs(issue) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", r"upgrade/test_downgrade\.proofs\.jsonl:2: line: Invalid JSON"),
        ('{"observation": "failed"}', r"\.jsonl:2: observation: Input should be"),
        ("", r"\.jsonl:2: line: Invalid JSON"),
        ("\udc80", "cannot be read"),
    ],
)
def test_a_line_that_is_none_is_named(issue, line, says):
    write_proofs(issue, [proof()])
    with proofs_file(issue).open("ab") as file:
        file.write(f"{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(ProofError, match=says) as caught:
        read_proofs(issue)
    assert "\n" not in str(caught.value)


def test_equal_results_are_counted_in_the_newest():
    (one,) = gathered([proof(2), proof(1), proof(3)])
    assert (one.run, one.results) == ("run-3", 3)


def test_what_was_seen_otherwise_stays_beside_it():
    found = gathered([proof(1), proof(2, Observation.CONFORMS)])
    assert {one.observation: one.results for one in found} == {"symptom": 1, "conforms": 1}


def test_of_a_scenario_that_was_changed_only_the_new_text_counts():
    assert gathered([proof(1, text="old"), proof(2, text="new")]) == [proof(2, text="new")]
    # Also where the change made it see something else.
    newer = proof(2, Observation.CONFORMS, text="new")
    assert gathered([newer], [proof(1, text="old")]) == [newer]


def test_another_build_keeps_its_proof_when_the_text_changes():
    known, new = proof(1, text="old"), proof(2, build=INCUS_702, text="new")
    assert gathered([new], [known]) == [new, known]


def test_ten_results_are_not_given_up_for_one():
    (ten,) = gathered([proof(number) for number in range(10)])
    assert gathered([proof(11)], [ten]) == [ten]


@given(
    st.lists(
        st.builds(
            proof,
            st.integers(0, 9),
            st.sampled_from([Observation.SYMPTOM, Observation.CONFORMS]),
            st.sampled_from(BUILDS),
        ),
        max_size=12,
    )
)
def test_the_same_runs_give_the_same_proofs_however_often(proofs):
    once = gathered(proofs)
    assert sorted(gathered(proofs, once), key=str) == sorted(once, key=str)
    assert sorted(gathered([], once), key=str) == sorted(once, key=str)
    assert sum(one.results for one in once) == len(proofs)
