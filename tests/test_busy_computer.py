"""What a busy computer delays is not taken for a product's failure, nor for its symptom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from clusterproof import Shown
from clusterproof.lab.substrates.machine import Result
from clusterproof.suites.config import listeners
from clusterproof.suites.config.listeners import REFUSED, check_listener
from clusterproof.suites.upgrade import json_columns_patch
from clusterproof.suites.upgrade.json_columns_patch import AGAIN, STOP, in_use, start_again

TIMED_OUT = 28  # curl's exit status
LOCKED = 'Failed applying patch "db_json_columns": Failed to fix JSON columns: database is locked'


def listening(*answers: int, ready: bool = True) -> Any:
    """Return a member whose address gives curl the exit statuses ``answers``, the last one for ever."""
    left = list(answers)

    def run(argv):
        assert argv[0] == "curl"
        return Result(left.pop(0) if len(left) > 1 else left[0], "", "")

    return SimpleNamespace(address="10.0.0.2", run=run, daemon=SimpleNamespace(is_ready=lambda: ready))


@pytest.mark.parametrize("answers", [[0], [TIMED_OUT, TIMED_OUT, 0], [REFUSED, 0], [REFUSED, TIMED_OUT, 0]])
def test_a_slow_listener_is_none_that_is_gone(answers):
    check_listener(listening(*answers))


def test_a_listener_that_is_gone(monkeypatch):
    monkeypatch.setattr(listeners, "OPENED", 0.3)
    with pytest.raises(Shown) as caught:
        check_listener(listening(TIMED_OUT, REFUSED))
    assert caught.value.what == "cluster's listener gone while the daemon is ready"


@pytest.mark.parametrize(("answer", "ready"), [(TIMED_OUT, True), (REFUSED, False)])
def test_neither_silence_nor_a_daemon_that_is_down_is_the_symptom(monkeypatch, answer, ready):
    monkeypatch.setattr(listeners, "SEEN", 0.3)
    with pytest.raises(AssertionError) as caught:
        check_listener(listening(answer, ready=ready))
    assert not isinstance(caught.value, Shown)


def test_a_cluster_is_used_until_the_last_write_has_its_answer():
    done, active = [], iter([True, True, False])

    def run(argv, *, check=False):  # noqa: ARG001
        done.append(argv[0])
        return Result(0 if argv[0] != "systemctl" or next(active) else 3, "", "")

    member: Any = SimpleNamespace(
        name="m1", run=run, write=lambda *_: None, sql=lambda *_: "| 7 |", facts=SimpleNamespace(socket="/s")
    )
    with in_use(member):
        assert done == ["rm", "systemd-run"]
        done.clear()
    # The writer is not stopped: it ends by itself, and that is waited for.
    assert done == ["touch", "systemctl", "systemctl", "systemctl"]
    assert STOP.startswith("/")


@pytest.mark.parametrize(
    ("errors", "starts", "fails"),
    [
        ([""], 1, False),
        ([LOCKED, ""], 2, False),
        ([LOCKED] * AGAIN, AGAIN, True),
        (["no such table"], 1, True),
        ([LOCKED, "no such table"], 2, True),
    ],
)
def test_a_start_that_meets_a_heartbeat_is_repeated(monkeypatch, errors, starts, fails):
    left = iter(errors)
    monkeypatch.setattr(json_columns_patch, "restart", lambda _: next(left))
    member: Any = SimpleNamespace(name="m2")
    if fails:
        with pytest.raises(AssertionError, match=errors[-1].partition(":")[0]):
            start_again(member)
    else:
        start_again(member)
    assert len(list(left)) == len(errors) - starts
