"""A connection over which nothing is sent, to a real unix socket of this computer."""

from __future__ import annotations

import shlex
import socket
import subprocess
from types import SimpleNamespace

import pytest

from clusterproof.lab.cluster import idle_connection as idle_connections
from clusterproof.lab.cluster.idle_connection import idle_connection
from clusterproof.lab.core.waiting import NotObservedError
from clusterproof.lab.substrates.machine import Result


@pytest.fixture
def member(tmp_path):
    """This computer, with a folder of its own in place of /run and a process in place of systemd's unit."""
    processes = []

    def run(command, *, check=False):
        line = command.replace("/run/", f"{tmp_path}/")
        if line.startswith("systemd-run"):
            processes.append(subprocess.Popen(shlex.split(line)[3:], stderr=subprocess.DEVNULL))
            return Result(0, "", "")
        if line.startswith("systemctl stop"):
            processes[-1].terminate()
            processes[-1].wait(60)
            line = line.partition("; ")[2]
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=check)
        return Result(done.returncode, done.stdout, done.stderr)

    return SimpleNamespace(name="m1", facts=SimpleNamespace(socket=str(tmp_path / "socket")), run=run)


def test_nothing_is_sent_and_it_ends_with_the_block(member, tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(member.facts.socket)
        server.listen()
        with idle_connection(member):
            connection, _ = server.accept()
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        connection.settimeout(60)
        assert connection.recv(1) == b""
        connection.close()
    assert [path.name for path in tmp_path.iterdir()] == ["socket"]


def test_a_socket_that_nobody_listens_at(member, monkeypatch):
    monkeypatch.setattr(idle_connections, "CONNECTED", 0.2)
    with pytest.raises(NotObservedError, match="m1: an idle connection to"), idle_connection(member):
        pytest.fail("there is no connection")
