"""The lab's state on this machine: runs live as long as a process holds them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def lab_dir(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    return tmp_path / "lab"


@pytest.fixture
def other_process():
    """Start ``code`` in another process, which says that it is ready and then waits for its end."""
    started = []

    def start(code: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}\nprint('ready', flush=True)\ninput()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_folder_is_the_chosen_one_or_root_s_or_the_user_s(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_DIR", "elsewhere")
    assert runs.folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("LAB_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert runs.folder() == Path("/var/lib/clusterproof")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert runs.folder().name == "clusterproof"
    assert not runs.folder().is_relative_to("/var")


def test_new_runs_have_ids_of_their_own():
    ids = {Run.new().id for _ in range(20)}
    assert len(ids) == 20
    assert all(set(identity) <= set("0123456789abcdefTZ-") for identity in ids)


def test_a_run_that_nobody_holds_is_dead():
    run = Run("r1")
    assert not run.alive()
    assert Run.known() == []


def test_a_run_is_alive_while_it_is_held():
    run = Run("r1")
    run.hold()
    run.hold()
    assert Run("r1").alive()
    assert not Run("r2").alive()
    assert [known.id for known in Run.known()] == ["r1"]
    # Asking does not take it away from its holder.
    assert Run("r1").alive()
    run.forget()
    assert not Run("r1").alive()
    assert Run.known() == []


def test_others_may_not_look_into_a_run_s_folder():
    run = Run("r1")
    run.hold()
    assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
    run.forget()


def test_a_run_dies_with_its_process(other_process):
    holder = other_process("from clusterproof.lab.core.runs import Run\nrun = Run('r1')\nrun.hold()")
    assert Run("r1").alive()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not Run("r1").alive()
    assert [known.id for known in Run.known()] == ["r1"]


def test_a_run_is_alive_while_one_of_its_processes_is(other_process):
    code = "from clusterproof.lab.core.runs import Run\nrun = Run('r1')\nrun.hold()"
    first, second = other_process(code), other_process(code)
    for holder, alive in ((first, True), (second, False)):
        holder.kill()
        holder.wait()
        assert Run("r1").alive() is alive


def test_children_do_not_keep_a_run_alive(other_process):
    holder = other_process(
        "import subprocess\nfrom clusterproof.lab.core.runs import Run\nrun = Run('r1')\nrun.hold()\n"
        "child = subprocess.Popen(['sleep', '60'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        "open(run.folder / 'child', 'w').write(str(child.pid))"
    )
    child = int((Run("r1").folder / "child").read_text())
    try:
        holder.kill()
        holder.wait()
        assert not Run("r1").alive()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_kept_run_outlives_its_process(other_process):
    holder = other_process("from clusterproof.lab.core.runs import Run\nrun = Run('r1')\nrun.hold()\nrun.keep()")
    holder.kill()
    holder.wait()
    assert Run("r1").kept
    assert Run("r1").alive()
    Run("r1").forget()
    assert not Run("r1").alive()


def test_an_address_is_reserved_once():
    one, other = Run("r1"), Run("r2")
    assert one.reserve("10.176.0.2")
    assert not other.reserve("10.176.0.2")
    assert not one.reserve("10.176.0.2")
    assert other.reserve("10.176.0.3")
    one.release("10.176.0.2")
    one.release("10.176.0.2")
    assert other.reserve("10.176.0.2")


def test_of_many_that_want_an_address_one_gets_it():
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: Run(f"r{n}").reserve("10.176.0.2"), range(32)))
    assert got.count(True) == 1


def test_processes_share_the_reservations(other_process):
    other_process("from clusterproof.lab.core.runs import Run\nassert Run('r1').reserve('10.176.0.2')")
    assert not Run("r2").reserve("10.176.0.2")


def test_a_forgotten_run_gives_its_own_addresses_back():
    one, other = Run("r1"), Run("r2")
    assert one.reserve("10.176.0.2")
    assert one.reserve("10.176.0.3")
    assert other.reserve("10.176.0.4")
    one.forget()
    one.forget()
    assert other.reserve("10.176.0.2")
    assert other.reserve("10.176.0.3")
    assert not one.reserve("10.176.0.4")


def test_a_folder_that_cannot_be_written_is_the_lab_s_fault(lab_dir):
    (lab_dir / "addresses").mkdir(parents=True)
    with pytest.raises(LabError, match="cannot reserve an address in"):
        Run("r1").reserve("no/such/place")


def test_a_lock_is_one_for_all(other_process, lab_dir):
    with runs.lock("bake-x"):
        pass
    other_process("from clusterproof.lab.core import runs\nlock = runs.lock('bake-x')\nlock.acquire()")
    assert (lab_dir / "locks").is_dir()
    with pytest.raises(TimeoutError):
        runs.lock("bake-x").acquire(timeout=0)
    with runs.lock("bake-y").acquire(timeout=0):
        pass
