from datetime import timedelta
from itertools import combinations_with_replacement

import pytest
from typer.testing import CliRunner

from builds import Expectation
from reports.__main__ import app
from reports.gate import POLICIES, gate, gate_faults
from reports.verdicts import Observation, Verdict
from tests.samples import INCUS_604, INCUS_702, LXD_502, START, cell, write_run

WAYS = {
    Verdict.REGRESSED: (Expectation.FIXED, Observation.SYMPTOM),
    Verdict.DISCOVERED: (Expectation.UNKNOWN, Observation.SYMPTOM),
    Verdict.FAILED: (Expectation.AFFECTED, Observation.OTHER_FAILURE),
    Verdict.SILENTLY_FIXED: (Expectation.AFFECTED, Observation.CONFORMS),
    Verdict.BLOCKED: (Expectation.FIXED, Observation.LAB_ERROR),
    Verdict.REPRODUCED: (Expectation.AFFECTED, Observation.SYMPTOM),
    Verdict.UNTESTABLE: (Expectation.FIXED, Observation.NOT_RUN),
    Verdict.CONFORMS: (Expectation.FIXED, Observation.CONFORMS),
    Verdict.CLEAR: (Expectation.UNKNOWN, Observation.CONFORMS),
    Verdict.NOT_APPLICABLE: (Expectation.NOT_APPLICABLE, Observation.NOT_RUN),
}


def having(verdict, **changes):
    expectation, observation = WAYS[verdict]
    return cell(expectation=expectation, observation=observation, **changes)


def code(verdicts, policy):
    """The rule, written down once more and otherwise than in the gate."""
    blocking = {"blocked", "untestable"} if policy == "strict" else {"blocked"}
    if policy == "none":
        return 0
    if any(one in ("regressed", "discovered", "failed", "silently-fixed") for one in verdicts):
        return 1
    return 2 if not verdicts or blocking & set(verdicts) else 0


@pytest.mark.parametrize("policy", POLICIES)
def test_every_two_verdicts_under_every_policy(policy):
    sets = [(), *((one,) for one in Verdict), *combinations_with_replacement(Verdict, 2)]
    for verdicts in sets:
        cells = [having(verdict, scenario=f"s{number}") for number, verdict in enumerate(verdicts)]
        result = gate(cells, policy)
        assert result.exit_code == code(verdicts, policy), verdicts
        stops = [one for one in verdicts if code([one], "strict" if policy == "strict" else "expected")]
        assert len(result.lines) == len(stops) + 1
        for verdict in stops:
            assert any(line.startswith(f"{verdict}: ") for line in result.lines)


def test_an_offending_cell_is_told_with_all_that_helps():
    offending = having(
        Verdict.REGRESSED, peer=INCUS_604, reason="two\nlines \x1b[2J", evidence="evidence/downgrade-702"
    )
    result = gate(
        [
            offending,
            having(Verdict.BLOCKED, build=LXD_502, reason=" "),
            having(Verdict.CLEAR, build=INCUS_604),
        ]
    )
    regressed, blocked, summary = result.lines
    scenario = "suites/upgrade/test_downgrade.py::test_one_extension_less"
    assert regressed == (
        f"regressed: {scenario} on incus@7.0.2 (7.0.2-3~bpo13+1) with incus@6.0.4 (6.0.4-2+deb13u10): "
        "two lines ?[2J [evidence evidence/downgrade-702]"
    )
    assert blocked == (
        f"blocked: {scenario} on lxd@5.0.2 (5.0.2-5+deb12u6): no reason was recorded [no evidence]"
    )
    assert summary == (
        "gate (expected): not passed: 1 cell not as expected, 1 blocked "
        "(1 regressed, 1 blocked, 1 clear)"
    )


def test_a_long_reason_is_cut():
    (line, _) = gate([having(Verdict.FAILED, reason="x" * 10_000)]).lines
    assert len(line) < 500


def test_what_passes_says_so():
    assert gate([having(Verdict.CONFORMS), having(Verdict.REPRODUCED, build=LXD_502)]) == (
        0,
        ["gate (expected): passed: 2 cells as expected (1 reproduced, 1 conforms)"],
    )


@pytest.mark.parametrize(("policy", "status"), [("expected", 2), ("strict", 2), ("none", 0)])
def test_nothing_judged_is_no_success(policy, status):
    result = gate([], policy)
    assert result.exit_code == status
    assert "nothing was judged" in result.lines[-1]


def test_the_policy_none_still_says_what_is_wrong():
    result = gate([having(Verdict.REGRESSED)], "none")
    assert result.exit_code == 0
    assert result.lines[0].startswith("regressed: ")
    assert result.lines[-1].endswith("the exit status is 0 all the same")


def test_a_result_that_was_lost_is_no_success():
    fine = having(Verdict.CONFORMS)
    result = gate([fine], problems=["out/r/results.jsonl:2: cut off\nin the middle"])
    assert result.exit_code == 2
    assert result.lines[0] == "missing: out/r/results.jsonl:2: cut off in the middle"
    assert "not passed: the results are incomplete" in result.lines[-1]
    assert gate([having(Verdict.REGRESSED)], problems=["x"]).exit_code == 1


def test_a_repeat_lifts_a_block_but_no_unexpected_verdict():
    later = START + timedelta(minutes=9)
    well = having(Verdict.CONFORMS, started=later)
    assert gate([having(Verdict.BLOCKED), well]).exit_code == 0
    assert gate([having(Verdict.REGRESSED), well]).exit_code == 1
    assert gate([having(Verdict.BLOCKED, started=later), having(Verdict.CONFORMS)]).exit_code == 2
    assert "1 cell " in gate([having(Verdict.REGRESSED), well]).lines[-1]


@pytest.mark.parametrize("verdict", Verdict)
def test_a_fault_must_not_be_taken_for_the_symptom(verdict):
    result = gate_faults([having(verdict), having(Verdict.BLOCKED, scenario="other")], "kill-member")
    mistaken = verdict in (Verdict.REGRESSED, Verdict.DISCOVERED)
    assert result.exit_code == int(mistaken)
    says = "not passed: 1 cell took" if mistaken else "passed: no cell took"
    assert result.lines[-1].startswith(f"fault kill-member: {says} it for the symptom (")
    assert len(result.lines) == 1 + mistaken


def test_a_fault_in_a_run_without_results():
    result = gate_faults([], "kill-member", problems=["3 of 3 planned cells have no result"])
    assert result.exit_code == 2
    assert result.lines[0] == "missing: 3 of 3 planned cells have no result"


@pytest.mark.parametrize(
    ("verdict", "policy", "status"),
    [
        (Verdict.UNTESTABLE, "expected", 0),
        (Verdict.UNTESTABLE, "strict", 2),
        (Verdict.REGRESSED, "strict", 1),
        (Verdict.REGRESSED, "none", 0),
    ],
)
def test_the_command_exits_as_the_gate_says(tmp_path, verdict, policy, status):
    write_run(tmp_path / "r", [having(verdict, build=INCUS_702)])
    result = CliRunner().invoke(app, ["gate", "--run", str(tmp_path / "r"), "--policy", policy])
    assert result.exit_code == status
    assert result.stdout.splitlines()[-1].startswith(f"gate ({policy}): ")


def test_an_unknown_policy_is_refused(tmp_path):
    write_run(tmp_path / "r", [])
    result = CliRunner().invoke(app, ["gate", "--run", str(tmp_path / "r"), "--policy", "lenient"])
    assert result.exit_code == 2
    assert "lenient" in result.stderr
