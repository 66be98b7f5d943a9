"""Processes beside a run: they live on, are found again by another process, and end with the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clusterproof.lab.core import processes
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import Process, began, end_all, of_run, run_tool
from clusterproof.lab.core.waiting import eventually


@pytest.fixture
def run(tmp_path):
    """A run's folder, whose processes end with the test."""
    yield tmp_path
    end_all(tmp_path)


def sleeper(run: Path, name: str = "one", script: str = "exec cat >/dev/null") -> Process:
    """Start a shell that waits for input which never comes, and say when it does."""
    process = Process(run, name)
    fifo = run / f"{name}.fifo"
    os.mkfifo(fifo)
    # Opened for both, so that nobody has to write to it.
    process.start(["sh", "-c", f"exec <>{fifo}; echo ready; {script}"])
    eventually(lambda: "ready" in process.tail(), every=0.01)
    return process


def test_a_process_is_found_again_by_its_run(run):
    started = sleeper(run)
    (found,) = of_run(run)
    assert found.name == "one"
    assert found.pid() == started.pid() is not None


def test_a_process_leads_a_session_of_its_own(run):
    # An interrupt at the terminal is for the run, which then ends its machines in its own order.
    assert os.getsid(sleeper(run).pid()) != os.getsid(0)


def test_what_is_given_to_a_process(run, tmp_path):
    (tmp_path / "at").mkdir()
    process = Process(run, "told")
    script = 'echo "$PWD $SAID"; echo aside >&2'
    process.start(["sh", "-c", script], cwd=tmp_path / "at", environment={"SAID": "x"})
    eventually(lambda: process.pid() is None, every=0.01)
    assert process.tail() == f"{tmp_path / 'at'} x | aside"


@pytest.mark.parametrize("patience", [0, 10])
def test_ending(run, patience):
    process = sleeper(run)
    pid = process.pid()
    process.end(patience=patience)
    assert process.pid() is None
    assert began(pid) == ""
    assert of_run(run) == []


def test_ending_with_patience_lets_a_process_put_things_in_order(run):
    process = sleeper(run, script="trap 'echo bye; exit' TERM; read x")
    process.end(patience=10)
    assert process.tail() == "ready | bye"


def test_ending_one_that_does_not_listen(run):
    process = sleeper(run, script="trap '' TERM; read x")
    process.end(patience=0.05)
    assert process.pid() is None


def test_ending_what_has_ended_does_nothing(run):
    process = sleeper(run)
    process.end()
    process.end(patience=5)
    assert end_all(run) == 0


def test_ending_from_another_process_than_the_one_that_started_it(run):
    script = """
import sys
from pathlib import Path
from clusterproof.lab.core.processes import Process
Process(Path(sys.argv[1]), "one").start(["sh", "-c", "exec cat <>" + sys.argv[2]])
"""
    os.mkfifo(run / "fifo")
    checkout = Path(__file__).parents[3]
    argv = [sys.executable, "-c", script, str(run), str(run / "fifo")]
    subprocess.run(argv, check=True, timeout=60, cwd=checkout)
    (found,) = of_run(run)
    assert found.pid() is not None
    assert end_all(run) == 1
    assert found.pid() is None


def test_a_number_that_somebody_else_has_got_is_left_alone(run):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        (run / "processes").mkdir()
        (run / "processes" / "old.pid").write_text(f"{stranger.pid} 1")
        process = Process(run, "old")
        assert process.pid() is None
        process.signal(signal.SIGKILL)
        assert end_all(run) == 0
        process.end()
        assert stranger.poll() is None


@pytest.mark.parametrize("content", ["", "12", "1 2 3", "no number"])
def test_a_damaged_note_of_a_process_is_none(run, content):
    (run / "processes").mkdir()
    (run / "processes" / "torn.pid").write_text(content)
    assert Process(run, "torn").pid() is None
    assert end_all(run) == 0


def test_a_stopped_process_still_runs(run):
    process = sleeper(run)
    process.signal(signal.SIGSTOP)
    assert process.pid() is not None
    process.signal(signal.SIGCONT)


def test_what_cannot_be_started_is_named(run):
    with pytest.raises(LabError, match=r"^gone: cannot start /no/such/program: No such file or directory$"):
        Process(run, "gone").start(["/no/such/program"])
    assert of_run(run) == []


def test_one_that_does_not_end_is_named(run, monkeypatch):
    process = sleeper(run)
    monkeypatch.setattr(process, "signal", lambda _: None)
    monkeypatch.setattr(
        processes, "eventually", lambda probe, **options: eventually(probe, **{**options, "within": 0.05})
    )
    with pytest.raises(LabError, match=rf"process {process.pid()} \(one\) does not end"):
        process.end()


def test_the_last_words_are_a_few_lines(run):
    process = Process(run, "talks")
    assert process.tail() == ""
    process.start(["printf", r"1\n2\n3\n\377\n5\n"])
    eventually(lambda: process.pid() is None, every=0.01)
    assert process.tail() == "3 | � | 5"
    assert process.tail(1) == "5"


def test_a_tool_that_fails_is_told_with_its_words():
    with pytest.raises(LabError, match=r"^sh failed: no room$"):
        run_tool(["sh", "-c", "echo 'no room' >&2; exit 1"])
    with pytest.raises(LabError, match=r"^sh failed: 3$"):
        run_tool(["sh", "-c", "exit 3"])
