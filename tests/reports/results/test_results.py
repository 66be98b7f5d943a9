import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterproof.builds import Expectation
from clusterproof.reports.history.repeats import repeats
from clusterproof.reports.results.results import Cell, append, read, write_planned
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import ROLES, Observation, Verdict, expect, judge
from tests.pages import HOSTILE
from tests.samples import BUILDS, INCUS_604, INCUS_702, START, cell, sample_ledger, sample_run

POSSIBLE = [
    (expectation, observation)
    for expectation, observation in product(Expectation, Observation)
    if expectation is not Expectation.NOT_APPLICABLE or observation is Observation.NOT_RUN
]


@st.composite
def cells(draw):
    expectation, observation = draw(st.sampled_from(POSSIBLE))
    roles = [role for role in ROLES if expectation in {expect(one, role) for one in Expectation}]
    text = st.text(min_size=1)
    return cell(
        run=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,30}", fullmatch=True)),
        scenario=draw(text),
        issue=draw(text),
        role=draw(st.sampled_from(roles)),
        build=draw(st.sampled_from(BUILDS)),
        peer=draw(st.sampled_from([None, *BUILDS])),
        substrate=draw(st.sampled_from(["container", "vm"])),
        expectation=expectation,
        observation=observation,
        reason=draw(st.text(st.characters())),  # lone surrogates, too
        seconds=draw(st.floats(min_value=0, allow_infinity=False)),
        started=draw(st.datetimes(timezones=st.just(UTC))),
        suite=draw(text),
    )


@settings(max_examples=40)  # each one waits for the disk
@given(st.lists(cells(), max_size=4))
def test_what_is_appended_is_what_is_read(tmp_path_factory, several):
    path = tmp_path_factory.mktemp("run") / "results.jsonl"
    path.touch()
    for one in several:
        append(path, one)
    assert read(path) == (several, [])
    assert path.read_bytes().count(b"\n") == len(several)


def test_the_keys_of_a_line():
    line = json.loads(cell(peer=INCUS_604, evidence="evidence/a").line())
    assert list(line) == [
        "run", "scenario", "issue", "role", "build", "peer", "substrate", "observation", "expectation",
        "verdict", "reason", "seconds", "phases", "evidence", "started", "suite", "text", "fault",
        "injected", "crashes", "lab", "parts",
    ]  # fmt: skip
    assert line["build"] == {
        "name": "incus@7.0.2",
        "product": "incus",
        "version": "7.0.2-3~bpo13+1",
        "track": "7.0",
        "source": "debian",
        "api_extensions": 562,
        "schema": 77,
    }
    assert list(line["phases"]) == ["host", "members", "cluster", "scenario", "teardown"]
    assert line["started"] == "2026-03-02T21:04:00Z"


def test_times_are_kept_in_utc():
    there = timezone(timedelta(hours=2))
    assert cell(started=datetime(2026, 3, 2, 23, 4, tzinfo=there)).started == START
    with pytest.raises(ValueError, match="timezone"):
        cell(started=datetime(2026, 3, 2, 23, 4))  # noqa: DTZ001


@pytest.mark.parametrize(("expectation", "observation"), POSSIBLE)
@pytest.mark.parametrize("verdict", Verdict)
def test_only_the_verdict_that_follows_is_accepted(expectation, observation, verdict):
    values = {"expectation": expectation, "observation": observation, "verdict": verdict}
    right = judge(expectation, observation)
    if verdict is right:
        assert cell(**values).verdict is right
    else:
        with pytest.raises(ValueError, match=f'it must be "{right}"'):
            cell(**values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evidence": "/etc"}, "beneath evidence/"),
        ({"evidence": "../other"}, "beneath evidence/"),
        ({"evidence": "a/../../b"}, "beneath evidence/"),
        ({"evidence": "..\\b"}, "beneath evidence/"),
        ({"evidence": ""}, "beneath evidence/"),
        ({"evidence": "evidence"}, "beneath evidence/"),
        ({"evidence": "evidence/.."}, "beneath evidence/"),
        ({"evidence": "var/log"}, "beneath evidence/"),
        ({"evidence": "evidence/a\x00b"}, "beneath evidence/"),
        ({"evidence": "evidence/a\\b"}, "beneath evidence/"),
        ({"run": "/x"}, "pattern"),
        ({"run": ".."}, "pattern"),
        ({"run": "a/b"}, "pattern"),
        ({"run": "r\n"}, "pattern"),
        ({"run": "r" * 101}, "at most 100"),
        ({"seconds": -1}, "greater than or equal to 0"),
        ({"seconds": float("nan")}, "finite"),
        ({"substrate": "bare"}, "'container', 'vm' or 'existing'"),
        ({"role": "workaround", "expectation": Expectation.AFFECTED}, r"verdicts\.expect"),
        ({"scenario": ""}, "at least 1 character"),
        *(({"run": text}, "should match pattern") for text in ("", "/x", "..", "../x", "a/b", "a\nb", "a\n")),
        *(({"run": text}, "should match pattern") for text in HOSTILE),
        ({"run": "x" * 101}, "at most 100 characters"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        cell(**changes)


def test_a_line_is_on_the_disk_before_the_next_cell_begins(tmp_path, monkeypatch):
    path = tmp_path / "run" / "results.jsonl"
    synced: list[bytes] = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(path.read_bytes()))
    append(path, cell())
    append(path, cell())
    line = cell().line().encode() + b"\n"
    assert synced == [line, line * 2]


def test_a_reason_of_bytes_that_are_no_text_is_written(tmp_path):
    append(tmp_path / "results.jsonl", cell(reason="log: \udcff\udcfe end"))
    assert read(tmp_path / "results.jsonl")[0][0].reason == "log: ?? end"


def test_a_torn_last_line_is_told_and_the_rest_kept(tmp_path):
    path = tmp_path / "results.jsonl"
    for number in range(3):
        append(path, cell(run=f"r{number}"))
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        kept, problems = read(path)
        assert [one.run for one in kept] == ["r0", "r1"]
        (problem,) = problems
        assert problem.startswith(f"{path}:3: cut off in the middle: ")
        assert "\n" not in problem
    path.write_bytes(whole[:-1])  # only the line's end is missing: nothing is lost
    assert [one.run for one in read(path)[0]] == ["r0", "r1", "r2"]


def test_what_follows_a_torn_line_is_not_swallowed(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, cell(run="r0"))
    with path.open("ab") as file:
        file.write(b'{"run": "torn')
    append(path, cell(run="r1"))
    kept, problems = read(path)
    assert [one.run for one in kept] == ["r0", "r1"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:2: not a line of JSON")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"\xff\xfe", "not a line of JSON"),
        (b"null", "Input should be an object"),
        (b"{}", "run: missing"),
        (
            cell().line().replace('"conforms",', '"odd",', 1).encode(),
            'observation: Input should be .* (value "odd")',
        ),
        (
            cell().line().replace('"verdict":"conforms"', '"verdict":"clear"').encode(),
            'verdict "clear" does not',
        ),
    ],
)
def test_a_bad_line_is_told_and_the_rest_kept(tmp_path, line, problem):
    path = tmp_path / "results.jsonl"
    append(path, cell(run="r0"))
    with path.open("ab") as file:
        file.write(line + b"\n\n")
    append(path, cell(run="r1"))
    kept, (told,) = read(path)
    assert [one.run for one in kept] == ["r0", "r1"]
    assert told.startswith(f"{path}:2: ")
    assert problem.partition(" .*")[0] in told


def test_processes_may_append_at_once(tmp_path):
    path = tmp_path / "results.jsonl"
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.samples import cell; from clusterproof.reports.results.results import append\n"
        "for n in range(20):\n"
        "    append(Path(sys.argv[1]), cell(run=f'{sys.argv[2]}-{n}', reason='x' * 9000))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(3)]
    assert [one.wait(60) for one in started] == [0, 0, 0]
    kept, problems = read(path)
    assert problems == []
    assert len({one.run for one in kept}) == 60


def test_cells_that_never_had_a_result_are_told(tmp_path):
    done = cell(scenario="suites/a.py::test_a")
    append(tmp_path / "results.jsonl", done)
    write_planned(tmp_path, ["suites/a.py::test_a[incus@7.0.2]"])
    assert read(tmp_path / "results.jsonl") == ([done], [])
    write_planned(tmp_path, [f"suites/a.py::test_{x}[incus@{n}]" for x in "abcde" for n in (1, 2)])
    assert read(tmp_path / "results.jsonl")[1] == [
        "9 of 10 planned cells have no result: "
        "suites/a.py::test_a, suites/a.py::test_b, suites/a.py::test_c and 2 more scenarios"
    ]
    write_planned(tmp_path, [f"suites/a.py::test_{x}[incus@7.0.2]" for x in "bcd"])
    (problem,) = read(tmp_path / "results.jsonl")[1]
    assert problem.endswith(": suites/a.py::test_b, suites/a.py::test_c, suites/a.py::test_d")


def test_what_is_planned_may_be_written_before_there_is_a_folder(tmp_path):
    for _ in range(2):
        write_planned(tmp_path / "out" / "r1", ["suites/a.py::test_a[incus@7.0.2]"])
    assert list((tmp_path / "out").rglob("*.txt"))


def test_no_file_is_the_caller_s_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "results.jsonl")


def test_a_sample_run_survives_the_file(tmp_path):
    run = sample_run(sample_ledger(tmp_path))
    assert [Cell.model_validate_json(one.line()) for one in run] == run


def test_repeats_are_one_cell_with_its_newest_result():
    later = cell(started=START + timedelta(minutes=1), observation=Observation.LAB_ERROR)
    other = cell(build=INCUS_702, peer=INCUS_604)
    groups = repeats([later, cell(), other])
    assert len(groups) == 2
    assert groups[later.key].newest is later
    assert groups[later.key].standing is later
    assert groups[later.key].verdicts == {Verdict.BLOCKED: 1, Verdict.CONFORMS: 1}


def test_a_repeat_lifts_a_block_but_no_unexpected_verdict():
    def after(minutes, observation):
        return cell(started=START + timedelta(minutes=minutes), observation=observation)

    blocked, affected, unaffected = (
        after(0, Observation.LAB_ERROR),
        after(1, Observation.SYMPTOM),
        after(2, Observation.CONFORMS),
    )
    assert repeats([blocked, unaffected])[unaffected.key].standing is unaffected
    assert repeats([unaffected, affected, blocked])[unaffected.key].standing is affected


def test_text_cannot_steer_a_terminal():
    assert one_line("a\n\tb  c\x1b[31m\u202ed\udc80") == "a b c?[31m?d?"
