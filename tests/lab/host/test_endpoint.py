"""Finding the lab host: named, on this computer, or a private one."""

from __future__ import annotations

import os
import types
from pathlib import Path

import pytest

from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.host import endpoint
from clusterproof.lab.host.endpoint import Endpoint
from tests.fakes import FakeServer

pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.parametrize(
    "wanted",
    [
        "server:8443",
        "http://server:8443",
        "ftp://server",
        "relative/unix.socket",
        "unix://relative",
        "lxd",
        "https://",
        "https://:8443",
        "https://server:port",
        "https://[::1",
    ],
)
def test_a_host_that_cannot_be_named_so(wanted, monkeypatch, tmp_path):
    for name in ("LAB_HOST_CERT", "LAB_HOST_KEY"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(UsageError, match="https URL") as caught:
        endpoint.find(wanted)
    assert f'"{wanted}"' in str(caught.value)
    assert "https://server:8443" in str(caught.value)


def test_a_socket_that_is_not_there(tmp_path):
    with pytest.raises(LabError, match=r"there is no such socket; is the server running?") as caught:
        endpoint.find(str(tmp_path / "unix.socket"))
    assert str(tmp_path / "unix.socket") in str(caught.value)


def test_a_socket_by_option_and_by_environment(server, monkeypatch):
    assert endpoint.find(str(server.socket)) == Endpoint(str(server.socket))
    assert endpoint.find(f"unix://{server.socket}") == Endpoint(str(server.socket))
    monkeypatch.setenv("LAB_HOST", str(server.socket))
    assert endpoint.find() == Endpoint(str(server.socket))
    with pytest.raises(LabError, match="/elsewhere"):
        endpoint.find("/elsewhere")


def test_a_url_needs_a_client_certificate():
    with pytest.raises(UsageError, match=r"https://server:8443 needs a client certificate.*LAB_HOST_CERT"):
        endpoint.find("https://server:8443")


def test_the_certificate_of_the_environment(monkeypatch, tmp_path):
    for name in ("CERT", "KEY", "SERVER_CERT"):
        monkeypatch.setenv(f"LAB_HOST_{name}", str(tmp_path / name))
    for name in ("CERT", "KEY", "SERVER_CERT"):
        with pytest.raises(UsageError, match=f"there is no file {tmp_path / name}$"):
            endpoint.find("https://server:8443")
        (tmp_path / name).touch()
    assert endpoint.find("https://server:8443") == Endpoint(
        "https://server:8443",
        cert=(tmp_path / "CERT", tmp_path / "KEY"),
        server_cert=tmp_path / "SERVER_CERT",
    )


def test_the_certificate_that_a_person_s_client_has(monkeypatch, tmp_path):
    folder = tmp_path / "incus"
    folder.mkdir()
    (folder / "client.crt").touch()
    monkeypatch.setattr(endpoint, "CLIENT_CONFIGS", (tmp_path / "none", folder))
    with pytest.raises(UsageError, match=f"there is no file {folder / 'client.key'}"):
        endpoint.find("https://server:8443")
    (folder / "client.key").touch()
    assert endpoint.find("https://server:8443").cert == (folder / "client.crt", folder / "client.key")


def test_no_server_on_this_computer(monkeypatch, tmp_path):
    monkeypatch.setattr(endpoint, "SOCKETS", (tmp_path / "unix.socket",))
    assert endpoint.local_server() is None
    (tmp_path / "unix.socket").touch()
    assert endpoint.local_server() is None


def test_the_server_of_this_computer_that_answers(monkeypatch, server):
    with FakeServer() as dead:
        dead.stop()
        monkeypatch.setattr(endpoint, "SOCKETS", (dead.socket, server.socket))
        assert endpoint.local_server() == server.socket
        assert endpoint.find() == Endpoint(str(server.socket))


@pytest.mark.parametrize(("uid", "why"), [(1000, "a private one needs root"), (0, "incusd is not installed")])
def test_nothing_there_and_nothing_to_start(monkeypatch, uid, why):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(endpoint, "daemon_binary", lambda: None)
    with pytest.raises(LabError, match=why) as caught:
        endpoint.find()
    assert "lab/bootstrap" in str(caught.value)
    assert "--lab-host" in str(caught.value)


def test_a_private_server_where_there_is_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(endpoint, "daemon_binary", lambda: Path("/usr/libexec/incus/incusd"))
    started = types.SimpleNamespace(ensure=lambda: tmp_path / "unix.socket")
    monkeypatch.setattr(endpoint, "PrivateServer", lambda: started)
    assert endpoint.find() == Endpoint(str(tmp_path / "unix.socket"), private=True)
