"""The symptom: a failed check counts only where a pattern of the ledger finds it."""

from __future__ import annotations

import json

import pytest

from fixtures.symptoms import SymptomSeenError, SymptomWatch
from lab.api import ApiError
from lab.errors import LabError
from lab.machine import CommandTimeoutError
from lab.member import CommandError
from lab.transcript import Transcript
from lab.waiting import NotObservedError
from reports.ledger import Issue

FACTS = {
    "id": "lxd-1",
    "title": "A member forgets its name",
    "kind": "bug",
    "area": "membership",
    "products": ("incus",),
    "upstream": ("https://github.com/lxc/incus/issues/1",),
    "ranges": ({"product": "incus", "track": "7.0", "proof": "code"},),
}
PATTERNS = (
    {"where": "message", "regex": "forgot its name"},
    {"where": "log", "regex": "name of .* is gone"},
)


@pytest.fixture
def transcript(tmp_path) -> Transcript:
    return Transcript(tmp_path / "transcript.jsonl")


@pytest.fixture
def watch(transcript):
    """Return a function that makes the watch of an issue, whose members have the given logs."""

    def make(logs=None, patterns=PATTERNS, **facts):
        issue = Issue(**{**FACTS, "symptom": {"words": "x", "patterns": patterns}, **facts})
        found = logs if callable(logs) else (lambda: logs or {})
        return SymptomWatch(issue, transcript, found)

    return make


def steps(transcript: Transcript) -> list[dict]:
    transcript.flush()
    return [json.loads(line) for line in transcript.path.read_text().splitlines()]


def test_a_check_that_holds(watch, transcript):
    with watch({"m1": "name of m1 is gone"})("it keeps its name"):
        pass
    (step,) = steps(transcript)
    assert (step["verb"], step["target"], step["what"]) == ("check", "scenario", "it keeps its name")
    assert "error" not in step


def test_a_fault_strikes_before_the_check(transcript):
    issue = Issue(**FACTS, symptom={"words": "x", "patterns": PATTERNS})
    order = []
    watch = SymptomWatch(issue, transcript, dict, lambda: order.append("strike"))
    with watch("it keeps its name"):
        order.append("check")
    assert order == ["strike", "check"]


def test_a_failed_check_whose_message_matches(watch):
    with pytest.raises(SymptomSeenError) as caught, watch()("it keeps its name"):
        raise AssertionError("first line\nm1 forgot its name again\nlast line")
    assert str(caught.value).startswith("it keeps its name: first line")
    assert caught.value.lines == ["m1 forgot its name again"]
    assert isinstance(caught.value.__cause__, AssertionError)


def test_a_failed_check_while_a_log_matches(watch, transcript):
    logs = {"m1": "all is well", "m2": "t=1 boot\nt=2 name of m2 is gone\nt=3 end"}
    with pytest.raises(SymptomSeenError) as caught, watch(logs)("it keeps its name"):
        assert {"m2": "Offline"} == {"m2": "Online"}
    assert caught.value.lines == ["t=2 name of m2 is gone"]
    (step,) = steps(transcript)
    assert step["lines"] == ["t=2 name of m2 is gone"]
    assert "SymptomSeenError" in step["error"]


def test_what_was_waited_for_and_did_not_come_is_a_failed_check(watch):
    with pytest.raises(SymptomSeenError), watch()("it keeps its name"):
        raise NotObservedError("not within 5 s: names; last observation: 'm1 forgot its name'")


def test_a_pattern_is_looked_for_where_it_belongs(watch):
    for logs, message in (
        ({"m1": "m1 forgot its name"}, "other"),
        ({"m1": "fine"}, "name of m1 is gone"),
    ):
        with pytest.raises(AssertionError, match=message) as caught, watch(logs)("it keeps its name"):
            raise AssertionError(message)
        assert not isinstance(caught.value, SymptomSeenError)


def test_another_failure_goes_on_with_a_note(watch):
    failure = AssertionError("two of three members")
    with pytest.raises(AssertionError) as caught, watch({"m1": "fine"})("it keeps its name"):
        raise failure
    assert caught.value is failure
    (note,) = failure.__notes__
    assert '"it keeps its name" does not hold, but nothing shows the symptom of lxd-1' in note


def test_a_promise_without_patterns_is_broken_by_the_check_alone(watch):
    promise = watch(patterns=(), kind="promise", ranges=())
    with pytest.raises(SymptomSeenError) as caught, promise("it keeps its name"):
        raise AssertionError("anything")
    assert caught.value.lines == []
    assert str(caught.value) == "it keeps its name: anything"


def test_a_promise_with_patterns_needs_one(watch):
    promise = watch(kind="promise", ranges=())
    with pytest.raises(AssertionError) as caught, promise("it keeps its name"):
        raise AssertionError("anything")
    assert not isinstance(caught.value, SymptomSeenError)


@pytest.mark.parametrize(
    "error",
    [
        LabError("m1 forgot its name"),
        ApiError("m1 forgot its name"),
        CommandError("m1 forgot its name"),
        CommandTimeoutError("m1 forgot its name"),
        ValueError("m1 forgot its name"),
        KeyboardInterrupt("m1 forgot its name"),
        pytest.skip.Exception("m1 forgot its name"),
        pytest.fail.Exception("Timeout (>5.0s) from pytest-timeout: m1 forgot its name"),
    ],
)
def test_only_a_failed_check_is_looked_at(watch, error):
    def logs():
        raise AssertionError("nobody asks for logs")

    with pytest.raises(type(error)) as caught, watch(logs)("it keeps its name"):
        raise error
    assert caught.value is error


def test_logs_that_cannot_be_had_are_the_lab_s_fault(watch):
    def logs():
        raise LabError("the lab host is gone")

    with pytest.raises(LabError, match="lab host is gone"), watch(logs)("it keeps its name"):
        raise AssertionError("m1 is Offline")
