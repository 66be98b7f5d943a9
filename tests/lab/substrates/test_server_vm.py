"""Virtual machines that the lab host makes: what is asked of it, and when it is asked at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import bootdisk
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates import server_vm, ssh_access
from clusterproof.lab.substrates.server_vm import ServerVM, ServerVMs, why_not
from tests.fakes import FakeServer, image, lab_host


@pytest.fixture
def server():
    with FakeServer() as running:
        running.info["environment"]["driver"] = "lxc | qemu"
        yield running


@pytest.fixture
def host(server, tmp_path, monkeypatch) -> Host:
    host = lab_host(server, tmp_path, monkeypatch)
    disk = tmp_path / "boot.qcow2"
    disk.write_bytes(b"a disk")
    files = RootfsImage("d1" * 32, tmp_path / "root.img", "7.0.2-3")
    monkeypatch.setattr(server_vm, "disk_of", lambda _: files)
    monkeypatch.setattr(bootdisk, "of", lambda *_: disk)
    return host


@pytest.fixture
def machine(host) -> ServerVM:
    return ServerVMs(host).machine("cp-r1-m1", image(), 1)


def made(server) -> dict:
    return server.instances["clusterproof"]["cp-r1-m1"]


def test_is_a_virtual_machine_with_the_state_on_a_disk_of_its_own(machine, server):
    machine.create()
    assert made(server)["type"] == "virtual-machine"
    assert made(server)["config"]["security.secureboot"] == "false"
    assert made(server)["config"]["user.clusterproof.run"] == "r1"
    assert made(server)["devices"]["state"] == {
        "type": "disk", "pool": "clusterproof", "source": "cp-r1-m1-state",
    }  # fmt: skip
    assert server.volumes["clusterproof"]["cp-r1-m1-state"]["content_type"] == "block"
    (given,) = server.images["clusterproof"].values()
    assert given["type"] == "virtual-machine"
    assert made(server)["source"]["fingerprint"] == given["fingerprint"]


def test_learns_from_its_seed_who_may_enter_and_where_it_is(machine, server, host):
    machine.create()
    config, nic = made(server)["config"], made(server)["devices"]["eth0"]
    user = yaml.safe_load(config["cloud-init.user-data"])
    assert user["hostname"] == "m1"
    assert user["ssh_authorized_keys"] == [(machine.keys / "client.pub").read_text().strip()]
    (interface,) = yaml.safe_load(config["cloud-init.network-config"])["ethernets"].values()
    assert interface["match"]["macaddress"] == nic["hwaddr"]
    assert interface["addresses"] == [f"{machine.address}/20"]
    assert interface["routes"][0]["via"] == str(host.gateway.ip)
    assert made(server)["devices"]["seed"]["source"] == "cloud-init:config"


def test_on_this_machine_it_is_reached_by_its_own_address(machine, server):
    machine.create()
    assert machine.endpoint == f"https://{machine.address}:8443"
    assert ssh_access.ssh_commands(machine.host.run)["m1"][-1] == f"root@{machine.address}"
    assert not any(device["type"] == "proxy" for device in made(server)["devices"].values())


def test_elsewhere_the_host_passes_on_what_comes_for_it(host, server):
    host.endpoint = dataclasses.replace(host.endpoint, url="https://127.0.0.7:8443")
    machine = ServerVMs(host).machine("cp-r1-m1", image(), 1)
    machine.create()
    proxies = {n: d for n, d in made(server)["devices"].items() if d["type"] == "proxy"}
    assert {name: device["connect"].rpartition(":")[2] for name, device in proxies.items()} == {
        "ssh": "22",
        "api": "8443",
    }
    port = proxies["api"]["listen"].rpartition(":")[2]
    assert machine.endpoint == f"https://127.0.0.7:{port}"
    entering = ssh_access.ssh_commands(host.run)["m1"]
    assert proxies["ssh"]["listen"] == f"tcp:127.0.0.7:{entering[entering.index('-p') + 1]}"


def test_a_machine_that_has_ended_is_told_at_once(machine):
    machine.create()
    machine.should_run = True
    with pytest.raises(LabError, match="member cp-r1-m1 is gone: its VM does not run"):
        machine.execute(["true"], timeout=600)


def test_another_image_keeps_the_state(machine, server):
    machine.create()
    machine.reimage(image())
    assert "cp-r1-m1-state" in server.volumes["clusterproof"]
    assert len(server.asked("POST instances")) == 2
    machine.destroy()
    assert server.volumes["clusterproof"] == {}
    assert server.instances["clusterproof"] == {}


def test_a_console_that_the_host_does_not_keep_says_nothing(machine):
    machine.create()
    assert machine.console() == ""


class TestWhyNot:
    def test_a_host_that_can(self, host):
        assert why_not(host) is None

    def test_a_server_of_the_lab_s_own(self, host):
        host.endpoint = Endpoint(host.endpoint.url, private=True)
        assert why_not(host) == "the lab host is a private server, which runs containers only"

    def test_a_host_that_cannot(self, host):
        host.facts["environment"]["driver"] = "lxc"
        assert why_not(host) == "incus 6.0.4 runs no VMs"

    def test_a_cluster(self, host):
        host.members = {"a": "10.0.0.1", "b": "10.0.0.2"}
        host.facts["environment"]["server_clustered"] = True
        assert why_not(host) == (
            "cluster of 2 members with incus 6.0.4 runs VMs, but not for the lab, because it is a cluster"
        )


def test_a_disk_is_given_to_the_host_once(host, server):
    first = server_vm.on_host(image(), host)
    assert server_vm.on_host(image(), host) == first
    assert len(server.asked("POST images")) == 1
    assert Path(host.run.folder).exists()
