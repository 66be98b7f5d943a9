"""The doctor: it finds the lab host as a run would, names what is missing, and changes nothing."""

from __future__ import annotations

import os

import pytest

from clusterproof.lab import doctor
from clusterproof.lab.doctor import Finding
from clusterproof.lab.host import endpoint
from tests.fakes import FakeServer, stay_alone


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    stay_alone(monkeypatch, tmp_path / "lab")
    monkeypatch.setattr(doctor, "daemon_binary", lambda: None)


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


def lab_host(wanted: str | None = None) -> Finding:
    (found,) = [finding for finding in doctor.examine(wanted) if finding.subject == "lab host"]
    return found


def test_a_named_host(server, monkeypatch):
    expected = f"incus 6.0.4 at {server.socket}"
    assert lab_host(str(server.socket)).found.startswith(expected)
    monkeypatch.setenv("LAB_HOST", str(server.socket))
    assert lab_host().found.startswith(expected)
    assert not server.lines("POST")


def test_a_named_host_that_is_gone(tmp_path):
    found = lab_host(str(tmp_path / "unix.socket"))
    assert not found.ok
    assert found.vital
    assert "there is no such socket" in found.found
    assert found.remedy == "check --lab-host"


def test_the_server_of_this_computer(server, monkeypatch):
    monkeypatch.setattr(endpoint, "SOCKETS", (server.socket,))
    assert f"the server of this computer at {server.socket}" in lab_host().found


@pytest.mark.parametrize(
    ("uid", "remedy"), [(0, ""), (1000, "run it as root (sudo)")], ids=["root", "not root"]
)
def test_a_private_server(monkeypatch, tmp_path, uid, remedy):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(doctor, "daemon_binary", lambda: tmp_path / "incusd")
    found = lab_host()
    assert (found.ok, found.remedy) == (uid == 0, remedy)
    if uid == 0:
        assert found.found == f"a private incusd ({tmp_path}/incusd), started when it is needed"


def test_no_server_and_none_to_start():
    found = lab_host()
    assert found == Finding(
        "lab host", "no LXD or Incus server answers, and incusd is not installed",
        ok=False, vital=True, remedy="sudo lab/bootstrap",
    )  # fmt: skip


def test_nothing_is_made(tmp_path):
    doctor.examine()
    assert not (tmp_path / "lab").exists()
