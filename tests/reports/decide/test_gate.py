from datetime import date, timedelta
from itertools import combinations_with_replacement

import pytest
from typer.testing import CliRunner

from clusterproof.builds import Expectation
from clusterproof.reports.commands import app
from clusterproof.reports.decide import gate as gates
from clusterproof.reports.decide.gate import Weight, gate_faults
from clusterproof.reports.decide.policy import Policy, load_policy
from clusterproof.reports.results.answers import answer, in_words
from clusterproof.reports.results.results import write_not_selected, write_planned
from clusterproof.reports.results.verdicts import Observation, Verdict
from tests.samples import INCUS_604, INCUS_702, LXD_502, START, cell, record, write_run

WAYS = {
    Verdict.REGRESSED: (Expectation.FIXED, Observation.SYMPTOM),
    Verdict.DISCOVERED: (Expectation.UNKNOWN, Observation.SYMPTOM),
    Verdict.FAILED: (Expectation.AFFECTED, Observation.OTHER_FAILURE),
    Verdict.SILENTLY_FIXED: (Expectation.AFFECTED, Observation.CONFORMS),
    Verdict.INVALID: (Expectation.FIXED, Observation.SCENARIO_ERROR),
    Verdict.BLOCKED: (Expectation.FIXED, Observation.LAB_ERROR),
    Verdict.REPRODUCED: (Expectation.AFFECTED, Observation.SYMPTOM),
    Verdict.UNTESTABLE: (Expectation.FIXED, Observation.NOT_RUN),
    Verdict.CONFORMS: (Expectation.FIXED, Observation.CONFORMS),
    Verdict.CLEAR: (Expectation.UNKNOWN, Observation.CONFORMS),
    Verdict.NOT_APPLICABLE: (Expectation.NOT_APPLICABLE, Observation.NOT_RUN),
}


POLICIES = ("strict", "expected", "none")


def gate(cells, policy="expected", **more):
    return gates.gate(cells, load_policy(policy) if isinstance(policy, str) else policy, **more)


def having(verdict, **changes):
    expectation, observation = WAYS[verdict]
    return cell(expectation=expectation, observation=observation, **changes)


def code(verdicts, policy):
    """The rule, written down once more and otherwise than in the gate."""
    blocking = {"blocked", "untestable"} if policy == "strict" else {"blocked"}
    if policy == "none":
        return 0
    if any(one in ("regressed", "discovered", "failed", "silently-fixed", "invalid") for one in verdicts):
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
            assert any(line.startswith(f"{in_words(answer(verdict), verdict)}: ") for line in result.lines)


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
        f"has the bug (regressed): {scenario} on incus@7.0.2 (7.0.2-3~bpo13+1) "
        "with incus@6.0.4 (6.0.4-2+deb13u10): two lines ?[2J [evidence evidence/downgrade-702]"
    )
    assert blocked == (
        f"not known (blocked): {scenario} on lxd@5.0.2 (5.0.2-5+deb12u6): no reason was recorded [no evidence]"
    )
    assert summary == (
        "gate (expected): not passed: 1 cell not as expected, 1 blocked "
        "(has the bug: 1 regressed; free of it: 1 clear; not known: 1 blocked)"
    )


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.DISCOVERED, Verdict.SILENTLY_FIXED])
def test_what_contradicts_the_ledger_is_told_up_to_the_last_answer(verdict, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reason = f"{'claim' * 100}. Last answers: m1: GET /1.0: nothing"
    one = having(verdict, reason=reason, evidence="evidence/a")
    (line, _) = gate([one], run_dir=tmp_path / "out/my run").lines
    assert reason in line
    assert line.endswith("[evidence 'out/my run/evidence/a']")


def test_a_long_reason_is_cut():
    (line, _) = gate([having(Verdict.FAILED, reason="x" * 10_000)]).lines
    assert len(line) < 500


def test_what_passes_says_so():
    result = gate([having(Verdict.CONFORMS), having(Verdict.REPRODUCED, build=LXD_502)])
    assert result.exit_code == 0
    assert result.lines == [
        "gate (expected): passed: 2 cells as expected (has the bug: 1 reproduced; free of it: 1 conforms)"
    ]


@pytest.mark.parametrize(("policy", "status"), [("expected", 2), ("strict", 2), ("none", 0)])
def test_nothing_judged_is_no_success(policy, status):
    result = gate([], policy)
    assert result.exit_code == status
    assert "nothing was judged" in result.lines[-1]


def test_the_policy_none_still_says_what_is_wrong():
    result = gate([having(Verdict.REGRESSED)], "none")
    assert result.exit_code == 0
    assert result.lines[0].startswith("has the bug (regressed): ")
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
    unaffected = having(Verdict.CONFORMS, started=later)
    assert gate([having(Verdict.BLOCKED), unaffected]).exit_code == 0
    assert gate([having(Verdict.REGRESSED), unaffected]).exit_code == 1
    assert gate([having(Verdict.BLOCKED, started=later), having(Verdict.CONFORMS)]).exit_code == 2
    assert "1 cell " in gate([having(Verdict.REGRESSED), unaffected]).lines[-1]


@pytest.mark.parametrize("verdict", Verdict)
def test_a_fault_must_not_be_taken_for_the_symptom(verdict):
    judged = having(Verdict.CONFORMS, scenario="other", injected=True)
    result = gate_faults([having(verdict, injected=True), judged], "kill-member")
    mistaken = verdict in (Verdict.REGRESSED, Verdict.DISCOVERED)
    affected = having(verdict).expectation is Expectation.AFFECTED
    assert result.exit_code == int(mistaken)
    says = "not passed: 1 cell took" if mistaken else "passed: no cell took"
    assert result.lines[-1].startswith(f"fault kill-member: {says} it for the symptom on incus@")
    assert len(result.lines) == 1 + mistaken + affected


@pytest.mark.parametrize("verdict", [Verdict.REPRODUCED, Verdict.SILENTLY_FIXED])
def test_a_fault_says_nothing_where_the_symptom_is_expected_anyway(verdict):
    result = gate_faults([having(verdict, injected=True)], "kill-member", free=["incus@7.5.1"])
    assert result.exit_code == 2
    assert result.lines[0].startswith("note: 1 cell not judged on incus@")
    assert result.lines[-1] == (
        "fault kill-member: not passed: there is no cell that could; a build without the bug can judge: "
        "--build incus@7.5.1 (no results)"
    )


@pytest.mark.parametrize("verdict", Verdict)
def test_a_cell_without_its_fault_says_nothing(verdict):
    result = gate_faults([having(verdict)], "kill-member")
    assert result.exit_code == 2
    assert "there is no cell that could" in result.lines[-1]


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
    assert result.exit_code == 64
    assert result.stderr == (
        'error: policy "lenient" is neither one of expected, nightly, none, qualification, strict nor a file; '
        "name one of them\n"
    )


# Policies


TODAY = date(2026, 3, 2)
FIXED = {
    "issue": "lxd-15313",
    "build": "incus@7.0.2",
    "verdict": "silently-fixed",
    "reason": "upstream backported it, the ledger follows",
    "expires": TODAY,
}


def explaining(*explanations, **changes):
    return Policy.model_validate(
        load_policy("expected").model_dump() | {"name": "mine", "explained": explanations, **changes}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"build": "incus"},
        {"build": "incus@7.0.2-3~bpo13+1"},
        {"scenario": "test_one_extension_less"},
        {"scenario": "suites/upgrade/test_downgrade.py::test_one_extension_less"},
    ],
)
def test_what_is_explained_does_not_stop_a_run(changes):
    result = gate([having(Verdict.SILENTLY_FIXED)], explaining({**FIXED, **changes}), today=TODAY)
    assert result.exit_code == 0
    told, summary = result.lines
    assert told.startswith("explained: free of it (silently-fixed): suites/upgrade/test_downgrade.py::")
    assert "(upstream backported it, the ledger follows; until 2026-03-02)" in told
    assert summary == "gate (mine): passed: 0 cells as expected, 1 explained (free of it: 1 silently-fixed)"


@pytest.mark.parametrize(
    "changes",
    [
        {"build": "incus@7.0"},
        {"build": "lxd"},
        {"verdict": "regressed"},
        {"issue": "lxd-1"},
        {"scenario": "test_something_else"},
    ],
)
def test_an_explanation_of_something_else_explains_nothing(changes):
    result = gate([having(Verdict.SILENTLY_FIXED)], explaining({**FIXED, **changes}), today=TODAY)
    assert result.exit_code == 1
    assert result.lines[0].startswith("note: the explanation of ")
    assert "explains nothing in this run; take it out" in result.lines[0]


def test_an_explanation_expires():
    cells = [having(Verdict.SILENTLY_FIXED)]
    result = gate(cells, explaining(FIXED), today=TODAY + timedelta(days=1))
    assert result.exit_code == 1
    assert "its explanation expired on 2026-03-02" in result.lines[0]
    renewed = {**FIXED, "expires": TODAY + timedelta(days=9)}
    assert gate(cells, explaining(FIXED, renewed), today=TODAY + timedelta(days=1)).exit_code == 0


@pytest.mark.parametrize(("blocked", "most", "code"), [(2, 2, 0), (3, 2, 2), (1, 0, 2), (4, 4, 2)])
def test_some_cells_may_be_blocked_but_not_all(blocked, most, code):
    cells = [having(Verdict.BLOCKED if n < blocked else Verdict.CLEAR, scenario=f"s{n}") for n in range(4)]
    result = gate(cells, explaining(max_blocked=most))
    assert result.exit_code == code
    assert len(result.having(Weight.BLOCKS if code else Weight.TOLERATED)) == blocked
    if not code:
        assert result.lines[-1].startswith("gate (mine): passed: 2 cells as expected, 2 blocked and tolerated")
        assert result.lines[0].startswith("tolerated: not known (blocked): s")


def test_what_blocks_can_be_explained_as_well():
    known = {**FIXED, "verdict": "blocked"}
    cells = [having(Verdict.BLOCKED), having(Verdict.CLEAR, scenario="s")]
    assert gate(cells, explaining(known), today=TODAY).exit_code == 0


def test_a_policy_that_takes_missing_results_in_its_stride():
    result = gate([having(Verdict.CLEAR)], explaining(complete=False), problems=["1 of 2 planned cells"])
    assert result.exit_code == 0
    assert result.lines[0] == "missing: 1 of 2 planned cells"


# Against the predecessor


SEEN = {
    "unaffected": having(Verdict.CONFORMS),
    "affected": having(Verdict.REGRESSED),
    "known": having(Verdict.REPRODUCED),
    "failing": having(Verdict.FAILED),
    "unseen": having(Verdict.BLOCKED),
}


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("unaffected", "unaffected", 0),
        ("unaffected", "affected", 1),
        ("unaffected", "known", 1),  # the ledger has come to know it, and it is worse all the same
        ("unaffected", "failing", 1),
        ("unaffected", "unseen", 2),
        ("affected", "affected", 0),
        ("known", "affected", 0),
        ("affected", "failing", 0),
        ("failing", "unaffected", 0),
        ("unseen", "affected", 1),
        ("unseen", "known", 0),
        (None, "affected", 1),
        (None, "known", 0),
        (None, "unaffected", 0),
    ],
)
def test_only_what_the_predecessor_did_better_stops_a_build(before, after, code):
    past = [] if before is None else [SEEN[before].model_copy(update={"build": INCUS_604})]
    result = gate([SEEN[after]], "qualification", before=past)
    assert result.exit_code == code, result.lines
    if (before, code) == ("unaffected", 1):
        assert "(incus@6.0.4 conforms)" in result.lines[0]
        assert "1 cell worse than on the predecessor" in result.lines[-1]


def test_what_judged_the_predecessor_must_judge_the_build():
    past = [having(Verdict.CONFORMS, build=INCUS_604, scenario=f"suites/a.py::test_{n}") for n in range(2)]
    past.append(having(Verdict.UNTESTABLE, build=INCUS_604, scenario="suites/a.py::test_skipped"))
    past.append(having(Verdict.CLEAR, build=INCUS_604, scenario="suites/a.py::test_from", peer=INCUS_702))
    result = gate([having(Verdict.CONFORMS, scenario="suites/a.py::test_0")], "qualification", before=past)
    assert result.exit_code == 2
    assert result.lines[0] == (
        "missing: suites/a.py::test_1 judged incus@6.0.4 and has no result of this build"
    )
    # Neither what was not judged there nor a change of build, which depends on the neighbours.
    assert [line for line in result.lines if line.startswith("missing")] == [result.lines[0]]


def test_what_went_worst_with_any_peer_is_what_was_there():
    seen = [(Verdict.CONFORMS, LXD_502), (Verdict.REGRESSED, None), (Verdict.CONFORMS, INCUS_702)]
    past = [having(verdict, build=INCUS_604, peer=peer) for verdict, peer in seen]
    assert gate([having(Verdict.REGRESSED)], "qualification", before=past).exit_code == 0


def command(*args):
    return CliRunner().invoke(app, ["gate", *(str(arg) for arg in args)])


def test_a_build_is_qualified_against_its_predecessor_in_history(tmp_path):
    before = having(Verdict.CONFORMS, build=INCUS_604, run="old")
    record(tmp_path / "history.sqlite", [before])
    run = write_run(tmp_path / "r", [having(Verdict.REGRESSED), having(Verdict.BLOCKED, build=LXD_502)])
    write_planned(run, [f"{before.scenario}[{build}]" for build in ("incus@7.0.2", "lxd@5.0.2")])
    write_not_selected(run, {})
    result = command("--run", run, "--policy", "qualification", "--build", "incus@7.0.2")
    assert result.exit_code == 1
    first, worse, stands_on, summary = result.stdout.splitlines()
    assert stands_on == "stands on: the only cell of incus@7.0.2"
    assert first == "incus@7.0.2 against incus@6.0.4 (6.0.4-2+deb13u10)"
    assert "(incus@6.0.4 conforms)" in worse
    assert "1 cell worse than on the predecessor (has the bug: 1 regressed)" in summary
    # What the run itself saw of the predecessor counts before what history knows.
    write_run(run, [having(Verdict.REGRESSED, build=INCUS_604)])
    assert command("--run", run, "--policy", "qualification", "--build", "incus@7.0.2").exit_code == 0


def test_one_build_of_a_run_can_be_judged_alone(tmp_path):
    run = write_run(tmp_path / "r", [having(Verdict.CLEAR), having(Verdict.REGRESSED, build=LXD_502)])
    assert command("--run", run, "--build", "incus@7.0.2").exit_code == 0
    assert command("--run", run, "--build", "lxd@5.0.2").exit_code == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--policy", "qualification"], 'policy "qualification" judges one build'),
        (["--against", "incus@6.0.4"], 'policy "expected" compares no builds'),
        (["--build", "incus@9"], 'build "incus@9" has no results (nearest: incus@7.0.2)'),
        (["--policy", "qualification", "--build", "incus@7.0.2"], "has no predecessor with results"),
        (
            ["--policy", "qualification", "--build", "incus@7.0.2", "--against", "incus@7.0.2"],
            'build "incus@7.0.2" is compared with itself',
        ),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, args, words):
    run = write_run(tmp_path / "r", [having(Verdict.CLEAR)])
    result = command("--run", run, *args)
    assert result.exit_code == 64
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
