"""The tool that kills runs: its moments by a seed, and that each victim is really killed."""

from __future__ import annotations

import signal
import sys
from collections import Counter

import pytest

from clusterproof.lab.core.waiting import eventually
from tools.bench import kills
from tools.bench.kills import (
    VICTIMS,
    Moment,
    Outcome,
    inventory_line,
    kill,
    moments,
    started,
    undisturbed,
)

# Like a run: a controlling process with a worker, which ends when that one does.
RUN = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", "import time; print('worker', flush=True); time.sleep(99)"])
try:
    sys.exit(2 if worker.wait() else 0)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_seed_gives_the_same_moments_and_every_victim_has_its_turn():
    assert moments(30, 1) == moments(30, 1) != moments(30, 2)
    assert Counter(moment.victim for moment in moments(30, 1)) == dict.fromkeys(VICTIMS, 10)
    assert all(0 <= moment.part < 1 for moment in moments(30, 1))


@pytest.mark.parametrize(
    ("victim", "ended"),
    [("controller", "ended with -9"), ("worker", "ended with 2"), ("Ctrl-C", "ended with 130")],
)
def test_each_victim_is_killed_also_where_a_shell_ignores_ctrl_c(tmp_path, victim, ended):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = tmp_path / "log"
    try:
        with started([sys.executable, "-c", RUN], log) as run:
            eventually(lambda: "worker" in log.read_text())
            assert kill(run, victim) == ended
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_had_ended_is_said_to_have(tmp_path):
    with started([sys.executable, "-c", "pass"], tmp_path / "log") as run:
        run.wait()
        assert kill(run, "worker") == "had ended with 0"


def test_a_run_that_does_not_end_is_killed_and_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "LIMIT", 0.2)
    status, _ = undisturbed([sys.executable, "-c", "import time; time.sleep(99)"], tmp_path / "log")
    assert status == -signal.SIGKILL


@pytest.mark.parametrize(
    ("next_one", "left", "fine"), [(0, (), True), (2, (), False), (0, ("interface cp1",), False)]
)
def test_what_is_fine(next_one, left, fine):
    moment = Moment("worker", 0.5)
    assert Outcome(moment, 3.0, "ended with 2", next_one, 20.0, left).fine is fine


def test_what_is_left_in_a_few_words():
    assert inventory_line(()) == "nothing"
    assert inventory_line(("a", "b", "c", "d")) == "4: a, b, c, ..."
