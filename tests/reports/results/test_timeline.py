"""The timeline folded: what is repeated is one entry, and what a check did is beneath it."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from clusterproof.reports.results.timeline import Checked, Loop, Step, read_timeline

START = datetime(2026, 3, 2, 21, 4, tzinfo=UTC)


def timeline(tmp_path, steps):
    lines = []
    for number, step in enumerate(steps):
        at = START + timedelta(seconds=step.pop("at", number))
        lines.append(
            json.dumps({"at": at.isoformat(), "seconds": 0.1, "verb": "run", "target": "m1"} | step)
        )
    path = tmp_path / "transcript.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return read_timeline(path, START)


def test_steps_that_alternate_are_one_loop_that_says_how_it_ended(tmp_path):
    tries = [
        {"what": what, "rc": 7 * (what == "curl")} for _ in range(29) for what in ("curl", "systemctl")
    ]
    found = timeline(tmp_path, [{"what": "begin"}, *tries, {"what": "end"}])
    first, loop, last = found.folded
    assert isinstance(first, Step)
    assert isinstance(loop, Loop)
    assert isinstance(last, Step)
    assert (first.what, last.what) == ("begin", "end")
    assert (loop.attempts, len(loop.steps)) == (29, 58)
    assert [step.what for step in loop.once] == ["curl", "systemctl"]
    assert 57 <= loop.seconds < 58


def test_three_attempts_are_still_three_steps(tmp_path):
    assert len(timeline(tmp_path, [{"what": "x"}] * 3).folded) == 3


def test_only_what_failed_for_good_is_marked(tmp_path):
    tries = [{"what": "curl", "rc": 7} for _ in range(5)]
    ended_well = timeline(tmp_path, [*tries, {"what": "curl", "rc": 0}])
    assert ended_well.troubles == 0
    assert [step.mark for step in ended_well.steps][:5] == ["rc 7"] * 5
    assert timeline(tmp_path, tries).troubles == 1


def test_what_a_check_did_is_beneath_it(tmp_path):
    steps = [
        {"what": "arrange", "at": 0},
        {"what": "look", "at": 1},
        {"what": "look again", "at": 2},
        {"verb": "check", "target": "scenario", "what": "holds", "at": 1, "seconds": 1.5},
        {"what": "after", "at": 5},
    ]
    arrange, checked, after = timeline(tmp_path, steps).folded
    assert isinstance(arrange, Step)
    assert isinstance(checked, Checked)
    assert isinstance(after, Step)
    assert [one.what for one in checked.inside if isinstance(one, Step)] == ["look", "look again"]
    assert (arrange.what, after.what) == ("arrange", "after")


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_nothing_is_lost_or_moved_by_folding(tmp_path_factory, names):
    found = timeline(tmp_path_factory.mktemp("t"), [{"what": name} for name in names])
    flat: list[Step] = []
    for entry in found.folded:
        flat += entry.steps if isinstance(entry, Loop) else [entry]
    assert [step.what for step in flat] == names
