"""The lab host: what it reports of itself, and the instances, volumes and addresses on it."""

from __future__ import annotations

import types
from ipaddress import IPv4Interface

import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.sweeping import is_idle, runs_on, sweep
from tests.fakes import Refusal


def test_a_host_that_does_not_answer(server, run):
    server.stop()
    with pytest.raises(LabError, match=r"lab host: .* does not answer at .*check --lab-host"):
        Host(Endpoint(str(server.socket)), run, Transcript())


def test_a_host_that_does_not_trust_us(server, run):
    # What a stranger is told: nothing about the environment.
    server.info = {"auth": "untrusted", "api_extensions": ["projects"], "public": False}
    with pytest.raises(LabError, match=r"does not trust this client.*config trust add-certificate"):
        Host(Endpoint(str(server.socket)), run, Transcript())


def test_a_host_in_a_few_words(server, run):
    assert Host(Endpoint(str(server.socket)), run, Transcript()).describe() == "incus 6.0.4"
    host = Host(Endpoint(str(server.socket), private=True), run, Transcript())
    assert (host.describe(), host.client, host.local) == ("private incus 6.0.4", "incus", True)
    server.info["environment"] = {"server": "lxd", "server_version": "5.21.4"}
    host = Host(Endpoint(str(server.socket)), run, Transcript())
    assert (host.describe(), host.client) == ("lxd 5.21.4", "lxc")


def test_addresses_are_exclusive_and_run_out(prepared):
    prepared.gateway = IPv4Interface("10.177.0.1/29")
    got = {prepared.reserve_address() for _ in range(4)}
    assert got == {f"10.177.0.{n}" for n in (2, 3, 4, 5)}
    with pytest.raises(LabError, match=r"every address of 10\.177\.0\.0/29 is in use.*clusterproof sweep"):
        prepared.reserve_address()
    prepared.run.release("10.177.0.4")
    assert prepared.reserve_address() == "10.177.0.4"


def test_a_full_pool_is_the_lab_s_fault(prepared, server):
    prepared.check_room()
    server.space = {"total": 1 << 30, "used": (1 << 30) - (100 << 20)}
    with pytest.raises(LabError, match=r"pool on incus 6\.0\.4 is full: 924 of 1024 MiB.*clusterproof sweep"):
        prepared.check_room()


def test_a_full_disk_below_a_private_server(prepared, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=10 << 20))
    prepared.check_room()
    prepared.endpoint = Endpoint(prepared.endpoint.url, private=True)
    with pytest.raises(LabError, match="is full: 10 MiB are free"):
        prepared.check_room()


def test_a_host_that_went_away(prepared, server):
    server.stop()
    with pytest.raises(LabError, match="not sound: the lab host does not answer"):
        prepared.check_room()


def test_what_is_gone_already_is_no_error(prepared, server):
    prepared.delete_instance("c1")
    prepared.delete_volume("v1")
    assert "DELETE instances/c1" in server.lines()


def test_running_instances_are_stopped_first(prepared, server):
    server.add_instance("c1")
    prepared.delete_instance("c1")
    assert server.instances["clusterproof"] == {}
    server.add_instance("c2")
    server.instances["clusterproof"]["c2"]["status"] = "Stopped"
    prepared.delete_instance("c2")
    assert server.instances["clusterproof"] == {}


class Once(dict):
    """What a server says to a call, the first time."""

    def get(self, line, default=None):
        return self.pop(line, default)


def test_one_that_is_taken_for_stopped_is_stopped_again(prepared, server):
    server.add_instance("c1")
    server.say = Once({"PUT instances/c1/state": Refusal(400, "The instance is already stopped")})
    prepared.delete_instance("c1")
    assert server.instances["clusterproof"] == {}
    assert len(server.asked("PUT instances/c1/state")) == 2


def test_one_that_cannot_be_stopped_is_the_lab_s_fault(prepared, server, monkeypatch):
    monkeypatch.setattr("clusterproof.lab.host.host.STOPPED", 0.2)
    server.add_instance("c1")
    server.say["PUT instances/c1/state"] = Refusal(400, "busy")
    with pytest.raises(LabError, match=r"^cannot delete instance c1: it still runs after 0\.2 s$"):
        prepared.delete_instance("c1")


def test_what_cannot_be_deleted_is_the_lab_s_fault(prepared, server):
    server.say["DELETE instances/c1"] = Refusal(500, "device busy")
    server.say["DELETE storage-pools/clusterproof/volumes/custom/v1"] = Refusal(400, "in use")
    with pytest.raises(LabError, match=r"cannot delete instance c1: .*device busy"):
        prepared.delete_instance("c1")
    with pytest.raises(LabError, match=r"cannot delete volume v1: .*in use"):
        prepared.delete_volume("v1")


@pytest.mark.parametrize("ask", [Host.instances, Host.volumes, sweep, runs_on, is_idle])
def test_a_host_that_goes_away_is_the_lab_s_fault(prepared, server, ask):
    server.stop()
    with pytest.raises(LabError, match="host"):
        ask(prepared)


def test_asking_a_lost_host_for_an_image(prepared, server):
    server.stop()
    with pytest.raises(LabError, match="host"):
        prepared.has_image("ab12")


def test_images_are_looked_for_in_the_lab_s_project(prepared, server):
    server.images["default"]["ab12"] = {"fingerprint": "ab12"}
    assert not prepared.has_image("ab12")
    server.images["clusterproof"]["ab12"] = {"fingerprint": "ab12"}
    assert prepared.has_image("ab12")
