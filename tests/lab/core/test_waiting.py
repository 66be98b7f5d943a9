"""Waiting: what counts as not yet, what ends it, and what its failure says."""

from __future__ import annotations

import itertools
from typing import TypedDict

import pytest

from clusterproof.lab.cluster.member import CommandError
from clusterproof.lab.core.api import ApiError, HostApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.waiting import NotObservedError, eventually


class Limits(TypedDict):
    within: float
    every: float


SOON: Limits = {"within": 5, "every": 0.001}
BRIEFLY: Limits = {"within": 0.02, "every": 0.005}


def in_turn(*answers):
    """Return a probe that gives (or raises) ``answers`` one by one, the last one for ever."""
    rest = itertools.chain(answers, itertools.repeat(answers[-1]))

    def probe():
        answer = next(rest)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return probe


def test_what_was_waited_for_is_returned():
    assert eventually(in_turn(None, "", 0, [], "there"), **SOON) == "there"
    assert eventually(in_turn(1, 2, 3, 4), lambda n: n > 2, **SOON) == 3


def test_what_is_there_is_returned_at_once():
    calls: list[str] = []

    def probe():
        calls.append("asked")
        return "there"

    assert eventually(probe, within=0, every=60) == "there"
    assert calls == ["asked"]


@pytest.mark.parametrize(
    "refusal",
    [ApiError("m1: GET /1.0: not yet", 503), AssertionError("m2 is Offline"), NotObservedError("inner")],
)
def test_refusals_of_the_product_count_as_not_yet(refusal):
    assert eventually(in_turn(refusal, refusal, "there"), **SOON) == "there"


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ({"m1": "Online", "m2": "Offline"}, "{'m1': 'Online', 'm2': 'Offline'}"),
        (None, "None"),
        (ApiError("m1: GET /1.0/cluster: 503"), "ApiError: m1: GET /1.0/cluster: 503"),
        (AssertionError("two of three"), "AssertionError: two of three"),
    ],
)
def test_the_last_observation_is_told(last, told):
    with pytest.raises(NotObservedError) as caught:
        eventually(in_turn("first", last), lambda _: False, **BRIEFLY, what="m1, m2 Online")
    message = str(caught.value)
    assert message.endswith(f"last observation: {told}")
    assert "not within 0.02 s" in message
    assert "m1, m2 Online" in message
    assert "attempts" in message
    assert isinstance(caught.value, AssertionError)
    assert caught.value.last == (None if isinstance(last, Exception) else last)
    if isinstance(last, Exception):
        assert caught.value.__cause__ is last


def test_without_words_the_probe_s_name_is_told():
    def members_online():
        return False

    with pytest.raises(NotObservedError, match=r": members_online; last observation: False"):
        eventually(members_online, **BRIEFLY)
    with pytest.raises(NotObservedError, match="lambda"):
        eventually(lambda: False, **BRIEFLY)


@pytest.mark.parametrize(
    "fault",
    [
        LabError("the lab host is gone"),
        HostApiError("host: GET /1.0/instances: no answer"),
        UsageError("no such build"),
        CommandError("m1: 'false' ended with 1"),
        KeyError("server_name"),
        ValueError("bad"),
    ],
)
def test_everything_else_ends_the_waiting_at_once(fault):
    asked = []

    def probe():
        asked.append(1)
        raise fault

    with pytest.raises(type(fault)) as caught:
        eventually(probe, within=60, every=60)
    assert caught.value is fault
    assert len(asked) == 1


def test_an_interrupt_ends_the_waiting_at_once():
    def probe():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eventually(probe, within=60, every=60)


def test_at_least_one_attempt_is_made():
    asked = []
    with pytest.raises(NotObservedError, match="1 attempt"):
        eventually(lambda: asked.append(1), within=0, every=60)
    assert len(asked) == 1
