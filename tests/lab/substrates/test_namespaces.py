"""Entering a container's namespaces: whose they are, how they are entered, and what can go wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import began
from clusterproof.lab.core.waiting import eventually
from clusterproof.lab.substrates import namespaces
from clusterproof.lab.substrates.namespaces import Namespaces

FIRST = 71

root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nsenter") is None, reason="only root enters namespaces, by nsenter"
)


@pytest.fixture
def first():
    """The first process of a container, as far as its namespaces are concerned."""
    argv = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
    script = "hostname inside; trap : USR1; echo up; while :; do read line || exit; done"
    outer = subprocess.Popen([*argv, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert outer.stdout is not None
    assert outer.stdout.readline() == b"up\n"
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    yield int(children[0])
    outer.kill()
    outer.communicate()


@pytest.fixture
def inside(first) -> Namespaces:
    return Namespaces(first, began(first), None, ())


@root
def test_a_command_runs_inside_as_a_login_of_root_would(inside):
    done = inside.run(["sh", "-c", "hostname; pwd; echo $HOME; echo err >&2; exit 3"], timeout=30)
    assert (done.rc, done.stdout, done.stderr) == (3, "inside\n/root\n/root\n", "err\n")


@root
def test_its_processes_are_those_of_the_container(inside):
    assert int(inside.run(["sh", "-c", "echo $$"], timeout=30).stdout) < 1000
    assert inside.run(["cat", "/proc/1/comm"], timeout=30).stdout in ("sh\n", "bash\n")


@root
@pytest.mark.parametrize("given", [None, b"", b"\x00secret\n", b"0123456789abcdef" * 200_000])
def test_input_comes_as_it_is(inside, given):
    assert inside.run(["cat"], timeout=60, stdin=given).stdout.encode() == (given or b"")


@root
def test_output_that_is_no_text(inside):
    assert inside.run(["printf", r"\377x"], timeout=30).stdout == "\ufffdx"


@root
def test_files_are_written_and_read_as_they_are(inside, tmp_path):
    file = tmp_path / "a b"
    for content, mode in ((b"\x00\xff\n", 0o755), (b"", 0o600)):
        inside.write(str(file), content, mode, timeout=30)
        assert file.read_bytes() == inside.read(str(file), timeout=30) == content
        assert file.stat().st_mode & 0o777 == mode


@root
def test_files_that_cannot_be_had(inside, tmp_path):
    assert inside.read(str(tmp_path / "none"), timeout=30) is None
    with pytest.raises(LabError, match="Is a directory"):
        inside.read(str(tmp_path), timeout=30)
    with pytest.raises(LabError, match="nonexistent"):
        inside.write("/nonexistent/x", b"", 0o644, timeout=30)


@root
def test_what_the_command_leaves_running_does_not_hold_the_caller(inside):
    assert inside.run(["sh", "-c", "sleep 100 & echo started"], timeout=30).stdout == "started\n"


@root
def test_capabilities_that_the_container_lacks(first):
    # 25 is CAP_SYS_TIME: nobody in a member sets this machine's clock.
    limited = Namespaces(first, began(first), None, (25,))
    status = limited.run(["cat", "/proc/self/status"], timeout=30).stdout
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd:")).split()[1]
    assert not int(bounding, 16) >> 25 & 1
    assert int(bounding, 16) & 1


@root
def test_a_command_without_an_end_is_killed(inside):
    with pytest.raises(LabError, match=r"^sleep gave no answer within 0\.2 s$"):
        inside.run(["sleep", "1000"], timeout=0.2)
    # Its first process here waits for nobody, so that the dead stay in the list, as such.
    living = "cat /proc/[0-9]*/stat | grep '(sleep) [^Z]'"
    eventually(lambda: not inside.run(["sh", "-c", living], timeout=30).ok, what="it is dead")


@root
def test_a_control_group_that_is_gone(first, tmp_path):
    gone = Namespaces(first, began(first), tmp_path / "gone" / "cgroup.procs", ())
    with pytest.raises(LabError, match="nsenter: no cgroup"):
        gone.run(["true"], timeout=30)


@root
def test_the_caller_is_entered_in_the_control_group(first, tmp_path):
    group = tmp_path / "cgroup.procs"
    assert Namespaces(first, began(first), group, ()).run(["true"], timeout=30).ok
    assert int(group.read_text()) > 0


@root
def test_a_container_that_has_ended():
    ended = Namespaces(2**22 + 1, "1", None, ())
    assert not ended.alive()
    with pytest.raises(LabError, match=r"^nsenter: "):
        ended.run(["true"], timeout=30)


def process(proc: Path, pid: int, cmdline: str, parent: int, began: int) -> Path:
    """Make what the kernel says of a process that sleeps: ``began`` is in clock ticks after boot."""
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_text(cmdline)
    fields = ["S", str(parent), *["0"] * 17, str(began), *["0"] * 30]
    (folder / "stat").write_text(f"{pid} (init) {' '.join(fields)}\n")
    return folder


@pytest.fixture
def proc(tmp_path, monkeypatch) -> Path:
    """What the kernel says of processes: a monitor, 70, and its container's first process, 71."""
    monkeypatch.setattr(namespaces, "PROC", tmp_path)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "stat").write_text("btime 1700000000\n")
    process(tmp_path, 70, "[lxc monitor] /x/containers clusterproof_cp-1-m1\0\0", 1, 500)
    container = process(tmp_path, FIRST, "/sbin/init\0", 70, 501)
    (container / "status").write_text("Name:\tinit\nCapBnd:\t00000000000000fc\n")
    (container / "cgroup").write_text("5:devices:/\n0::/lxc.payload.cp-1-m1/init.scope\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("CapBnd:\t00000000000001ff\n")
    return tmp_path


@pytest.mark.usefixtures("proc")
def test_a_container_is_known_by_its_monitor():
    found = namespaces.of("clusterproof_cp-1-m1")
    assert found == Namespaces(FIRST, f"{501 / os.sysconf('SC_CLK_TCK'):.2f}", None, (0, 1, 8))
    assert found.alive()
    assert not Namespaces(found.pid, "0", None, ()).alive()


@pytest.mark.parametrize("place", ["", "/init.scope"])
def test_its_control_group_is_beside_those_of_its_system_and_seen_with_its_monitor_s_eyes(proc, place):
    (proc / str(FIRST) / "cgroup").write_text(f"5:devices:/\n0::/lxc.payload.cp-1-m1{place}\n")
    whole = proc / "70/root/sys/fs/cgroup/lxc.payload.cp-1-m1"
    whole.mkdir(parents=True)
    for _ in range(2):
        found = namespaces.of("clusterproof_cp-1-m1")
        assert found is not None
        assert found.group == whole / "clusterproof" / "cgroup.procs"
        assert (whole / "clusterproof").is_dir()
    assert found.command(["true"])[-2:] == ["--chdir=/root", "true"]


@pytest.mark.usefixtures("proc")
@pytest.mark.parametrize("name", ["clusterproof_cp-1-m2", "cp-1-m1", "m1", ""])
def test_no_other_container_is_taken_for_it(name):
    assert namespaces.of(name) is None


def test_a_container_whose_first_process_is_gone(proc):
    shutil.rmtree(proc / str(FIRST))
    assert namespaces.of("clusterproof_cp-1-m1") is None


@pytest.mark.usefixtures("proc")
def test_only_root_enters(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert namespaces.of("clusterproof_cp-1-m1") is None
