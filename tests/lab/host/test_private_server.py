"""The private server: found half dead, started, ended, and no other process touched.

A script stands in for incusd, and nothing is mounted: tests need no root.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from clusterproof.lab.core import processes
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import began
from clusterproof.lab.core.waiting import eventually
from clusterproof.lab.host import bridge, private_server
from clusterproof.lab.host.private_server import PrivateServer

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")

# Answers every request as GET /1.0 would be, on the socket that Incus would use.
DAEMON = f"""#!{sys.executable}
import json, os, socketserver, sys
from http.server import BaseHTTPRequestHandler
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        info = {{"auth": "trusted", "api_extensions": [], "environment": {{"server": "incus"}}}}
        content = json.dumps({{"type": "sync", "status_code": 200, "metadata": info}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def address_string(self):
        return "client"
    def log_message(self, *_):
        pass
folder = os.environ["INCUS_DIR"]
with open(os.path.join(folder, "started"), "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
socketserver.ThreadingUnixStreamServer(os.path.join(folder, "unix.socket"), Handler).serve_forever(0.01)
"""


@pytest.fixture
def lab_dir(tmp_path_factory, monkeypatch) -> Path:
    """A lab's folder whose name is short enough for a socket's path."""
    folder = tmp_path_factory.mktemp("p")
    monkeypatch.setenv("LAB_DIR", str(folder))
    return folder


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """Nothing is mounted, no link and no limit of this computer is touched; the commands are returned."""
    done = []

    def start(argv, **options):
        done.append(argv)
        return subprocess.Popen(argv[argv.index("sh") :], **options)

    def run(*argv):
        done.append([*argv])
        return ""

    stand_in = types.SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(private_server, "subprocess", stand_in)
    monkeypatch.setattr(bridge, "_run", run)
    monkeypatch.setattr(private_server, "_pure_cgroup_v2", lambda: "")
    monkeypatch.setattr(private_server, "_raise_inotify_limit", lambda: None, raising=False)
    return done


@pytest.fixture
def incusd(tmp_path, monkeypatch):
    """Return a function that makes ``text`` the installed daemon."""
    monkeypatch.setattr(private_server, "DAEMONS", ())

    def install(text: str = DAEMON) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        file = folder / "incusd"
        file.write_text(text)
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return file

    return install


@pytest.fixture
def server(lab_dir, commands):  # noqa: ARG001
    server = PrivateServer("cp-test0")
    yield server
    server.stop()


@pytest.fixture
def bystander():
    """Return a function that starts a process of somebody else's, with the given command line."""
    started = []

    def start(*argv: str) -> subprocess.Popen:
        # The name and its arguments are what another process can see of it.
        process = subprocess.Popen([*argv], executable="/bin/sh", stdin=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def pid_of(server: PrivateServer) -> int:
    return int((server.folder.parent / "host.pid").read_text().split()[0])


def starts(server: PrivateServer) -> int:
    return len((server.folder / "started").read_text().splitlines())


def test_the_installed_daemon(monkeypatch, tmp_path, incusd):
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert private_server.daemon_binary() is None
    elsewhere = tmp_path / "libexec-incusd"
    monkeypatch.setattr(private_server, "DAEMONS", (str(tmp_path / "missing"), str(elsewhere)))
    elsewhere.touch(mode=0o644)
    assert private_server.daemon_binary() is None
    elsewhere.chmod(0o755)
    assert private_server.daemon_binary() == elsewhere
    assert private_server.daemon_binary() != incusd()
    assert private_server.daemon_binary() == tmp_path / "bin" / "incusd"


def test_no_daemon_is_installed(server, monkeypatch):
    monkeypatch.setattr(private_server, "daemon_binary", lambda: None)
    with pytest.raises(LabError, match=r"incusd is not installed; run lab/bootstrap.*--lab-host"):
        server.ensure()


def test_a_server_is_started_used_again_and_ended(server, incusd, commands):
    incusd()
    assert not server.answers()
    assert not server.running()
    assert server.ensure() == server.socket
    assert server.answers()
    assert server.running()
    pid = pid_of(server)
    PrivateServer("cp-test0").ensure()
    assert starts(server) == 1
    assert pid_of(server) == pid
    server.stop()
    assert not server.answers()
    assert not server.running()
    assert not server.socket.exists()
    assert ["ip", "link", "delete", "cp-test0"] in commands


def test_the_daemon_has_mounts_and_state_of_its_own(server, incusd, commands, lab_dir):
    incusd()
    server.ensure()
    (argv,) = [argv for argv in commands if "sh" in argv]
    assert argv[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert f'"--logfile", "{lab_dir}/host.log"' in (server.folder / "started").read_text()


@pytest.mark.usefixtures("commands")
def test_paths_reach_the_daemon_as_they_are(incusd, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("q") / """a "b" $c 'd'"""
    folder.mkdir()
    monkeypatch.setenv("LAB_DIR", str(folder))
    incusd()
    server = PrivateServer("cp-test0")
    try:
        server.ensure()
        (given,) = (server.folder / "started").read_text().splitlines()
        assert json.loads(given) == ["--group", "root", "--logfile", str(folder / "host.log")]
    finally:
        server.stop()


def test_the_daemon_starts_itself_anew_from_a_sealed_copy(server, incusd):
    binary = incusd(DAEMON.replace("json.dumps(sys.argv[1:])", 'os.environ["INCUS_EXEC_PATH"]'))
    server.ensure()
    copy = Path((server.folder / "started").read_text().strip())
    assert copy.parts[:3] == ("/", "proc", str(pid_of(server)))
    assert copy.read_bytes() == binary.read_bytes()
    with copy.open("rb") as file:
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == private_server.SEALS
    with pytest.raises(PermissionError), copy.open("r+b") as file:
        file.write(b"#")


def test_no_memory_for_the_copy(server, incusd, monkeypatch):
    binary = incusd()

    def refuse(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("os.memfd_create", refuse)
    with pytest.raises(LabError, match=f"^{binary} cannot be copied into memory: Cannot allocate memory$"):
        server.ensure()
    assert not server.running()


def test_a_killed_daemon_is_started_again(server, incusd):
    incusd()
    server.ensure()
    os.kill(pid_of(server), signal.SIGKILL)
    eventually(lambda: not server.running(), within=10, every=0.01)
    # What it left: its socket and its pid file.
    assert server.socket.exists()
    assert not server.answers()
    server.ensure()
    assert server.answers()
    assert starts(server) == 2


def test_a_daemon_that_hangs_is_ended_and_started_again(server, incusd, monkeypatch):
    incusd()
    server.ensure()
    first = pid_of(server)
    real = PrivateServer.answers
    monkeypatch.setattr(PrivateServer, "answers", lambda self: pid_of(self) != first and real(self))
    monkeypatch.setattr(private_server, "BUSY", 0.2)
    server.ensure()
    assert pid_of(server) != first
    assert began(first) == ""


def test_a_daemon_that_is_only_slow_is_waited_for(server, incusd, monkeypatch):
    incusd()
    server.ensure()
    first = pid_of(server)
    slow = iter([False, False])
    real = PrivateServer.answers
    monkeypatch.setattr(PrivateServer, "answers", lambda self: next(slow, True) and real(self))
    server.ensure()
    assert pid_of(server) == first


def test_the_bridge_of_another_lab_is_left_to_it(server, incusd, bystander, commands, monkeypatch):
    incusd()
    other = bystander(
        "dnsmasq", "-c", "read line; :", "--interface=cp-test0",
        "--dhcp-leasefile=/srv/other/host/networks/cp-test0/dnsmasq.leases",
    )  # fmt: skip
    eventually(server.bridge_of_another, within=10, every=0.01)
    with pytest.raises(LabError, match=r"cp-test0 belongs to the server .* in /srv/other/host, .*--lab-host"):
        server.ensure()
    assert not server.running()
    server.stop()
    assert ["ip", "link", "delete", "cp-test0"] not in commands
    assert other.poll() is None
    monkeypatch.setattr(bridge, "network_of", lambda pid: f"net:[{1 if pid == other.pid else 2}]")
    assert server.bridge_of_another() is None  # it has the name in a network namespace of its own


@pytest.mark.parametrize("content", ["", "not a number", "1 2 3", "{pid}", "{pid} 1", "999999999 5", "-1 7"])
def test_a_stale_pid_file_kills_nobody(server, incusd, bystander, content):
    incusd()
    other = bystander("sleeper", "-c", "read line")
    (server.folder.parent / "host.pid").write_text(content.format(pid=other.pid))
    assert not server.running()
    server.ensure()
    assert server.answers()
    server.stop()
    assert other.poll() is None


def test_the_pid_of_another_process_kills_nobody_at_stop(server, bystander):
    other = bystander("sleeper", "-c", "read line")
    (server.folder.parent / "host.pid").write_text(f"{other.pid} 12345")
    server.stop()
    assert other.poll() is None
    assert not (server.folder.parent / "host.pid").exists()


def test_what_an_earlier_daemon_left_is_ended(server, bystander):
    left = bystander("dnsmasq", "-c", "read line", f"--pid-file={server.folder}/networks/x/dnsmasq.pid")
    monitor = bystander(f"[lxc monitor] {server.folder}/containers c1", "-c", "read line")
    eventually(lambda: set(server.survivors()) >= {left.pid, monitor.pid}, within=10, every=0.01)
    assert server.running()
    assert server._monitor() == monitor.pid
    server.stop()
    assert left.wait(10) == -signal.SIGKILL
    assert monitor.wait(10) == -signal.SIGKILL
    assert not server.running()


def test_a_new_daemon_joins_the_mounts_of_surviving_members(server, incusd, bystander, commands):
    incusd()
    monitor = bystander(f"[lxc monitor] {server.folder}/containers c1", "-c", "read line")
    eventually(lambda: server._monitor() == monitor.pid, within=10, every=0.01)
    server.ensure()
    (argv,) = [argv for argv in commands if "sh" in argv]
    assert argv[:2] == ["nsenter", f"--mount=/proc/{monitor.pid}/ns/mnt"]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("pager", "{folder}/logs/incusd.log"),
        ("editor", "{folder}/networks/clusterproof0/dnsmasq.leases"),
        ("dnsmasq", "--pid-file=/run/another/dnsmasq.pid"),
        ("[lxc monitor] /var/lib/another/containers c1", ""),
        ("sleeper", "[lxc monitor] {folder}/containers c1"),
    ],
)
def test_processes_of_others_are_left_alone(server, bystander, name, argument):
    other = bystander(name, "-c", "echo; read line", argument.format(folder=server.folder))
    eventually(lambda: name in " ".join(dict(processes.command_lines())[other.pid]), within=10, every=0.01)
    assert not server.running()
    server.stop()
    assert other.poll() is None


def test_a_daemon_that_ends_at_once_is_told_with_its_last_words(server, incusd):
    incusd("#!/bin/sh\necho first\necho 'Error: no cgroups'\necho 'bye'\nexit 3\n")
    with pytest.raises(LabError, match=r"incusd ended at once with 3: first \| Error: no cgroups \| bye"):
        server.ensure()
    assert not server.running()


def test_a_daemon_that_says_it_in_its_log_only(server, incusd, lab_dir):
    incusd(f"#!/bin/sh\nprintf 'one\\ntwo\\nthree\\nfour\\n' > '{lab_dir}/host.log'\nexit 1\n")
    with pytest.raises(LabError, match=r"ended at once with 1: two \| three \| four"):
        server.ensure()


def test_a_daemon_that_never_answers_is_told_and_ended(server, incusd, monkeypatch, lab_dir):
    incusd(f"#!/bin/sh\necho waiting > '{lab_dir}/host.log'\nexec sleep 60\n")
    (lab_dir / "host.log").touch()

    def impatient(probe, **options):
        if "answers" in options.get("what", ""):
            said = lambda: "waiting" in (lab_dir / "host.log").read_text()  # noqa: E731
            eventually(said, within=10, every=0.01)
            options["within"] = 0
        return eventually(probe, **options)

    monkeypatch.setattr(private_server, "eventually", impatient)
    with pytest.raises(LabError, match="does not answer after 60 s: waiting"):
        server.ensure()
    # Neither a server that is in nobody's way nor one that is found again half started.
    server.stop()
    assert not server.running()


def test_what_cannot_be_started_is_the_lab_s_fault(server, incusd, monkeypatch):
    incusd()

    def refuse(*_, **__):
        raise FileNotFoundError(2, "No such file or directory", "unshare")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(LabError, match="unshare"):
        server.ensure()


def test_a_server_that_others_use_is_not_ended(server, incusd):
    incusd()
    server.ensure()
    assert server.stop(lambda: False) is False
    assert server.answers()
    assert server.stop(lambda: True) is True
    assert not server.answers()


def test_when_a_process_started():
    mine = began(os.getpid())
    assert 0 < float(mine) < float(Path("/proc/uptime").read_text().split()[0])
    assert began(os.getpid()) == mine
    assert began(2**30) == ""


def test_a_process_that_has_ended_and_was_not_waited_for_is_gone():
    child = subprocess.Popen(["true"])
    eventually(lambda: began(child.pid) == "", within=10, every=0.01)
    child.wait()


@pytest.mark.parametrize(("limit", "after"), [("128\n", "1024"), ("1024\n", "1024\n"), ("8192\n", "8192\n")])
def test_a_limit_is_raised_and_never_lowered(monkeypatch, tmp_path, limit, after):
    (tmp_path / "limit").write_text(limit)
    monkeypatch.setattr(private_server, "INOTIFY", tmp_path / "limit")
    private_server._raise_inotify_limit()
    assert (tmp_path / "limit").read_text() == after
    monkeypatch.setattr(private_server, "INOTIFY", tmp_path / "missing" / "limit")
    private_server._raise_inotify_limit()
