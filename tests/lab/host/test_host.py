"""The lab host: finding it, what is made on it once, and that nothing but the lab's own is touched."""

from __future__ import annotations

import json
import os
import subprocess
import types
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host import host as hosts
from clusterproof.lab.host.host import Host, Where, free_subnet, owner
from tests.fakes import Answer, FakeServer, Refusal, stay_alone

BRIDGE = "clusterproof0"
OURS = {"name": BRIDGE, "config": {"user.clusterproof": "true", "ipv4.address": "10.177.0.1/20"}}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A lab folder of the test's own, and none of this machine's servers, settings or routes."""
    stay_alone(monkeypatch, tmp_path / "lab")


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def run():
    run = Run.new()
    run.hold()
    yield run
    run.forget()


@pytest.fixture
def host(server, run) -> Host:
    return Host(Where(str(server.socket)), run, Transcript())


@pytest.fixture
def prepared(host) -> Host:
    host.prepare()
    return host


# Finding one


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
        hosts.find(wanted)
    assert f'"{wanted}"' in str(caught.value)
    assert "https://server:8443" in str(caught.value)


def test_a_socket_that_is_not_there(tmp_path):
    with pytest.raises(LabError, match=r"there is no such socket; is the server running?") as caught:
        hosts.find(str(tmp_path / "unix.socket"))
    assert str(tmp_path / "unix.socket") in str(caught.value)


def test_a_socket_by_option_and_by_environment(server, monkeypatch):
    assert hosts.find(str(server.socket)) == Where(str(server.socket))
    assert hosts.find(f"unix://{server.socket}") == Where(str(server.socket))
    monkeypatch.setenv("LAB_HOST", str(server.socket))
    assert hosts.find() == Where(str(server.socket))
    with pytest.raises(LabError, match="/elsewhere"):
        hosts.find("/elsewhere")


def test_a_url_needs_a_client_certificate():
    with pytest.raises(UsageError, match=r"https://server:8443 needs a client certificate.*LAB_HOST_CERT"):
        hosts.find("https://server:8443")


def test_the_certificate_of_the_environment(monkeypatch, tmp_path):
    for name in ("CERT", "KEY", "SERVER_CERT"):
        monkeypatch.setenv(f"LAB_HOST_{name}", str(tmp_path / name))
    for name in ("CERT", "KEY", "SERVER_CERT"):
        with pytest.raises(UsageError, match=f"there is no file {tmp_path / name}$"):
            hosts.find("https://server:8443")
        (tmp_path / name).touch()
    assert hosts.find("https://server:8443") == Where(
        "https://server:8443",
        cert=(tmp_path / "CERT", tmp_path / "KEY"),
        server_cert=tmp_path / "SERVER_CERT",
    )


def test_the_certificate_that_a_person_s_client_has(monkeypatch, tmp_path):
    folder = tmp_path / "incus"
    folder.mkdir()
    (folder / "client.crt").touch()
    monkeypatch.setattr(hosts, "CLIENT_CONFIGS", (tmp_path / "none", folder))
    with pytest.raises(UsageError, match=f"there is no file {folder / 'client.key'}"):
        hosts.find("https://server:8443")
    (folder / "client.key").touch()
    assert hosts.find("https://server:8443").cert == (folder / "client.crt", folder / "client.key")


def test_no_server_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(hosts, "SOCKETS", (tmp_path / "unix.socket",))
    assert hosts.local_server() is None
    (tmp_path / "unix.socket").touch()
    assert hosts.local_server() is None


def test_the_server_of_this_machine_that_answers(monkeypatch, server):
    with FakeServer() as dead:
        dead.stop()
        monkeypatch.setattr(hosts, "SOCKETS", (dead.socket, server.socket))
        assert hosts.local_server() == server.socket
        assert hosts.find() == Where(str(server.socket))


@pytest.mark.parametrize(("uid", "why"), [(1000, "a private one needs root"), (0, "incusd is not installed")])
def test_nothing_there_and_nothing_to_start(monkeypatch, uid, why):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(hosts, "daemon_binary", lambda: None)
    with pytest.raises(LabError, match=why) as caught:
        hosts.find()
    assert "lab/bootstrap" in str(caught.value)
    assert "--lab-host" in str(caught.value)


def test_a_private_server_where_there_is_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts, "daemon_binary", lambda: Path("/usr/libexec/incus/incusd"))
    started = types.SimpleNamespace(ensure=lambda: tmp_path / "unix.socket")
    monkeypatch.setattr(hosts, "PrivateServer", lambda _: started)
    assert hosts.find() == Where(str(tmp_path / "unix.socket"), private=True)


# Using one


def test_a_host_that_does_not_answer(server, run):
    server.stop()
    with pytest.raises(LabError, match=r"lab host: .* does not answer at .*check --lab-host"):
        Host(Where(str(server.socket)), run, Transcript())


def test_a_host_that_does_not_trust_us(server, run):
    # What a stranger is told: nothing about the environment.
    server.info = {"auth": "untrusted", "api_extensions": ["projects"], "public": False}
    with pytest.raises(LabError, match=r"does not trust this client.*config trust add-certificate"):
        Host(Where(str(server.socket)), run, Transcript())


def test_a_host_in_a_few_words(server, run):
    assert Host(Where(str(server.socket)), run, Transcript()).describe() == "incus 6.0.4"
    host = Host(Where(str(server.socket), private=True), run, Transcript())
    assert (host.describe(), host.client, host.local) == ("private incus 6.0.4", "incus", True)
    server.info["environment"] = {"server": "lxd", "server_version": "5.21.4"}
    host = Host(Where(str(server.socket)), run, Transcript())
    assert (host.describe(), host.client) == ("lxd 5.21.4", "lxc")


def test_project_pool_and_bridge_are_made_once(host, server):
    host.prepare()
    made = server.lines("POST")
    assert made == ["POST projects", "POST storage-pools", "POST networks"]
    assert server.projects["clusterproof"]["config"]["features.images"] == "true"
    assert server.pools["clusterproof"]["driver"] == "btrfs"
    network = server.networks[BRIDGE]
    assert network["config"]["ipv4.nat"] == "true"
    assert host.gateway == IPv4Interface(network["config"]["ipv4.address"])
    for thing in (server.projects["clusterproof"], server.pools["clusterproof"], network):
        assert thing["config"]["user.clusterproof"] == "true"
    host.prepare()
    assert server.lines("POST") == made


def test_what_is_missing_is_made_and_the_rest_kept(host, server):
    server.networks[BRIDGE] = OURS
    host.prepare()
    assert server.lines("POST") == ["POST projects", "POST storage-pools"]
    assert host.gateway == IPv4Interface("10.177.0.1/20")


def test_a_dir_pool_where_btrfs_cannot_be_had(host, server):
    def pools(call):
        if call.body["driver"] == "btrfs":
            # LXD leaves the pool that it could not make.
            server.pools["clusterproof"] = call.body
            raise Refusal(500, "Failed to mkfs.btrfs")
        return server._pool_list(call)

    server.say["POST storage-pools"] = pools
    host.prepare()
    pool = server.pools["clusterproof"]
    assert (pool["driver"], pool["config"]) == ("dir", {"user.clusterproof": "true"})


def test_no_pool_at_all(host, server):
    server.say["POST storage-pools"] = Refusal(500, "Read-only file system")
    with pytest.raises(LabError, match=r"lab host incus 6.0.4: .*Read-only file system"):
        host.prepare()


@pytest.mark.parametrize("config", [{"ipv4.address": "10.1.0.1/24"}, {}])
def test_a_foreign_network_of_our_name_is_refused(host, server, config):
    server.networks[BRIDGE] = {"name": BRIDGE, "config": config}
    with pytest.raises(LabError, match="network clusterproof0 that clusterproof did not make"):
        host.prepare()
    assert server.networks[BRIDGE]["config"] == config


def test_an_interface_that_the_host_knows_nothing_of_is_refused(host, server):
    server.say["POST networks"] = Refusal(400, 'Network interface "clusterproof0" already exists')
    with pytest.raises(LabError, match=r"an interface clusterproof0 is on .*ip link delete clusterproof0"):
        host.prepare()


def test_a_bridge_that_cannot_be_made(host, server):
    server.say["POST networks"] = Refusal(500, "Failed starting dnsmasq")
    with pytest.raises(LabError, match=r"lab host incus 6.0.4: .*Failed starting dnsmasq"):
        host.prepare()


def test_a_foreign_pool_of_our_name_is_refused(host, server):
    server.pools["clusterproof"] = {"name": "clusterproof", "driver": "zfs", "config": {}}
    with pytest.raises(LabError, match="pool clusterproof that clusterproof did not make"):
        host.prepare()


def test_a_foreign_project_of_our_name_is_refused(host, server):
    server.projects["clusterproof"] = {"name": "clusterproof", "config": {}}
    with pytest.raises(LabError, match="project clusterproof that clusterproof did not make"):
        host.prepare()


def test_the_bridge_s_subnet_is_used_by_nobody(host, server, monkeypatch):
    for name, address in {"a": "10.176.0.1/16", "b": "none", "c": ""}.items():
        server.networks[name] = {"name": name, "config": {"ipv4.address": address}}
    for name in ("eth0", "eth1"):
        server.networks[name] = {"name": name, "config": {}}
    server.addresses = {"eth0": ["10.177.0.1/24", "fe80::1/64"]}
    server.info["environment"]["addresses"] = ["10.177.32.5:8443", "[fd42::1]:8443", "*:8443"]
    monkeypatch.setattr(hosts, "local_subnets", lambda: [IPv4Network("10.177.16.0/24")])
    host.facts = server.info
    host.prepare()
    assert host.gateway == IPv4Interface("10.177.48.1/20")


def test_an_interface_that_goes_away_meanwhile_is_in_nobody_s_way(host, server):
    server.networks["veth1"] = {"name": "veth1", "config": {}}
    server.say["GET networks/veth1/state"] = Refusal(404, "Network not found")
    host.prepare()
    assert host.gateway == IPv4Interface("10.176.0.1/20")


def test_a_host_elsewhere_has_routes_of_its_own(host, monkeypatch):
    monkeypatch.setattr(hosts, "local_subnets", lambda: [IPv4Network("10.176.0.0/16")])
    host.where = Where("https://server.example:8443")
    assert not host.local
    assert host.describe() == "incus 6.0.4 at https://server.example:8443"
    host.prepare()
    assert host.gateway == IPv4Interface("10.176.0.1/20")


@given(
    st.lists(
        st.builds(
            lambda address, prefix: IPv4Network((address, prefix), strict=False),
            st.one_of(
                st.integers(int(IPv4Address("10.176.0.0")), int(IPv4Address("10.191.255.255"))),
                st.integers(0, 2**32 - 1),
            ),
            st.integers(9, 32),
        ),
        max_size=30,
    )
)
def test_a_free_subnet_overlaps_nothing(used):
    try:
        found = free_subnet(used)
    except LabError:
        # Only where it is so: no /20 of the range is without a used network.
        for candidate in IPv4Network("10.176.0.0/12").subnets(new_prefix=20):
            assert any(candidate.overlaps(network) for network in used)
        return
    assert not any(found.network.overlaps(network) for network in used)
    assert found.network.subnet_of(IPv4Network("10.176.0.0/12"))
    assert found.ip == found.network.network_address + 1


@pytest.mark.parametrize("used", ["10.0.0.0/8", "10.176.0.0/12", "0.0.0.0/0"])
def test_no_subnet_is_free(used):
    with pytest.raises(LabError, match="no private subnet is free"):
        free_subnet([IPv4Network(used)])


def test_every_part_of_the_range_is_used():
    parts = list(IPv4Network("10.176.0.0/12").subnets(new_prefix=20))
    with pytest.raises(LabError, match="no private subnet is free"):
        free_subnet([IPv4Network((part.network_address + 77, 32)) for part in parts])
    assert free_subnet(parts[:-1]).network == parts[-1]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], []),
        ([{"dst": "default"}, {"dst": "10.1.0.0/16"}], ["10.1.0.0/16"]),
        ([{"dst": "10.2.3.4"}, {"type": "local", "dst": "127.0.0.0/8"}, {}], ["10.2.3.4/32", "127.0.0.0/8"]),
        ([{"dst": "0.0.0.0/0"}], []),
    ],
)
def test_the_subnets_of_this_machine(monkeypatch, said, expected):
    monkeypatch.undo()
    done = types.SimpleNamespace(stdout=json.dumps(said).encode())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(hosts.shutil, "which", lambda name: f"/sbin/{name}")
    assert hosts.local_subnets() == [IPv4Network(network) for network in expected]
    monkeypatch.setattr(hosts.shutil, "which", lambda _: None)
    assert hosts.local_subnets() == []


# Addresses


def test_addresses_are_exclusive_and_run_out(prepared):
    prepared.gateway = IPv4Interface("10.177.0.1/29")
    got = {prepared.reserve_address() for _ in range(4)}
    assert got == {f"10.177.0.{n}" for n in (2, 3, 4, 5)}
    with pytest.raises(LabError, match=r"every address of 10\.177\.0\.0/29 is in use.*clusterproof sweep"):
        prepared.reserve_address()
    prepared.run.release("10.177.0.4")
    assert prepared.reserve_address() == "10.177.0.4"


# Room


def test_a_full_pool_is_the_lab_s_fault(prepared, server):
    prepared.check_room()
    server.space = {"total": 1 << 30, "used": (1 << 30) - (100 << 20)}
    with pytest.raises(LabError, match=r"pool on incus 6\.0\.4 is full: 924 of 1024 MiB.*clusterproof sweep"):
        prepared.check_room()


def test_a_full_disk_below_a_private_server(prepared, monkeypatch):
    monkeypatch.setattr(hosts.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10 << 20))
    prepared.check_room()
    prepared.where = Where(prepared.where.endpoint, private=True)
    with pytest.raises(LabError, match="is full: 10 MiB are free"):
        prepared.check_room()


def test_a_host_that_went_away(prepared, server):
    server.stop()
    with pytest.raises(LabError, match="the lab host is gone"):
        prepared.check_room()


# Deleting


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


def left_on(server) -> set[str]:
    found = [*server.instances.items(), *server.volumes.items()]
    return {f"{project}/{name}" for project, things in found for name in things}


def test_sweeping_deletes_what_dead_runs_of_this_machine_left(prepared, server):
    live, kept = Run("live"), Run("kept")
    live.hold()
    kept.hold()
    kept.keep()
    os.close(kept._held)
    mine = {"owner": owner()}
    server.add_instance("dead-m1", run="dead", **mine)
    server.add_volume("dead-m1-state", run="dead", **mine)
    server.add_volume("half-state", run="half", **mine)
    for name, config in {
        "live-m1": {"run": "live", **mine},
        "kept-m1": {"run": "kept", **mine},
        "this-m1": {"run": prepared.run.id, **mine},
        "other-m1": {"run": "other", "owner": "another machine"},
        "person": {},
    }.items():
        server.add_instance(name, **config)
        server.add_volume(f"{name}-state", **config)
    server.add_instance("elsewhere", project="default", run="dead", **mine)
    server.add_volume("elsewhere-state", project="default", run="dead", **mine)
    before = left_on(server)

    assert prepared.sweep() == [
        "run dead: 2 instances, volumes and processes removed",
        "run half: 1 instances, volumes and processes removed",
    ]
    gone = {"clusterproof/dead-m1", "clusterproof/dead-m1-state", "clusterproof/half-state"}
    assert left_on(server) == before - gone
    assert prepared.sweep() == []
    live.forget()
    assert prepared.sweep() == ["run live: 2 instances, volumes and processes removed"]


def test_sweeping_forgets_dead_runs_that_left_nothing(prepared):
    dead = Run("dead")
    dead.hold()
    assert dead.reserve("10.176.0.9")
    os.close(dead._held)
    assert prepared.sweep() == []
    assert "dead" not in [run.id for run in Run.known()]
    assert prepared.run.reserve("10.176.0.9")


def test_sweeping_gives_back_addresses_of_a_run_of_another_host(prepared, server):
    server.add_instance("dead-m1", run="dead", owner=owner())
    assert Run("dead").reserve("10.176.0.9")
    prepared.sweep()
    assert prepared.run.reserve("10.176.0.9")


def test_what_cannot_be_swept_does_not_hide_the_rest(prepared, server):
    for run in ("a", "b"):
        server.add_instance(f"{run}-m1", run=run, owner=owner())
    server.say["DELETE instances/a-m1"] = Refusal(500, "device busy")
    with pytest.raises(LabError, match="cannot delete instance a-m1"):
        prepared.sweep()
    assert "b-m1" not in server.instances["clusterproof"]


@pytest.mark.parametrize("ask", ["sweep", "instances", "volumes", "runs", "idle"])
def test_a_host_that_goes_away_is_the_lab_s_fault(prepared, server, ask):
    server.stop()
    with pytest.raises(LabError, match="host"):
        getattr(prepared, ask)()


def test_asking_a_lost_host_for_an_image(prepared, server):
    server.stop()
    with pytest.raises(LabError, match="host"):
        prepared.has_image("ab12")


def test_images_are_looked_for_in_the_lab_s_project(prepared, server):
    server.images["default"]["ab12"] = {"fingerprint": "ab12"}
    assert not prepared.has_image("ab12")
    server.images["clusterproof"]["ab12"] = {"fingerprint": "ab12"}
    assert prepared.has_image("ab12")


def test_idle_is_a_host_that_nobody_else_uses(prepared, server):
    assert prepared.idle()
    other = Run("other")
    other.hold()
    assert not prepared.idle()
    other.forget()
    server.add_instance("c1", run="x")
    assert not prepared.idle()


# Ending


def test_releasing_clears_what_the_run_left(prepared, server):
    server.add_instance("m1", run=prepared.run.id, owner=owner())
    server.add_volume("m1-state", run=prepared.run.id, owner=owner())
    server.add_instance("other", run="other", owner=owner())
    assert hosts.release(prepared) == 2
    assert left_on(server) == {"clusterproof/other"}
    assert not prepared.run.alive()


def test_releasing_stops_a_private_server_that_nobody_else_uses(prepared, monkeypatch):
    stopped = []

    class Private:
        def __init__(self, _: str) -> None:
            pass

        def stop(self, idle=lambda: True) -> bool:
            if idle():
                stopped.append(1)
                return True
            return False

    monkeypatch.setattr(hosts, "PrivateServer", Private)
    assert hosts.release(prepared) == 0
    assert stopped == []
    prepared.where = Where(prepared.where.endpoint, private=True)
    other = Run("other")
    other.hold()
    hosts.release(prepared)
    assert stopped == []
    other.forget()
    hosts.release(prepared)
    assert stopped == [1]


def test_releasing_a_host_that_is_gone_is_the_lab_s_fault(prepared, server):
    server.stop()
    with pytest.raises(LabError, match="host"):
        hosts.release(prepared)


def test_dismantling_removes_the_lab_and_nothing_else(prepared, server):
    server.images["clusterproof"]["ab12"] = {"fingerprint": "ab12"}
    server.images["default"]["cd34"] = {"fingerprint": "cd34"}
    server.networks["br0"] = {"name": "br0", "config": {}}
    server.pools["default"] = {"name": "default", "config": {}}
    prepared.dismantle()
    assert list(server.projects) == ["default"]
    assert list(server.networks) == ["br0"]
    assert list(server.pools) == ["default"]
    assert server.images == {"clusterproof": {}, "default": {"cd34": {"fingerprint": "cd34"}}}
    prepared.dismantle()


def test_dismantling_leaves_what_others_made_under_our_names(prepared, server):
    server.projects["clusterproof"]["config"] = {}
    server.images["clusterproof"]["ab12"] = {"fingerprint": "ab12"}
    server.pools["clusterproof"]["config"] = {}
    server.networks[BRIDGE]["config"] = {}
    prepared.dismantle()
    assert "clusterproof" in server.projects
    assert "ab12" in server.images["clusterproof"]
    assert "clusterproof" in server.pools
    assert BRIDGE in server.networks


def test_what_cannot_be_dismantled_is_told(prepared, server):
    server.say["DELETE projects/clusterproof"] = Refusal(400, "Only empty projects can be removed")
    with pytest.raises(LabError, match=r"cannot dismantle the lab on incus 6.0.4: .*Only empty projects"):
        prepared.dismantle()


def test_the_owner_is_this_machine_and_this_lab(monkeypatch, tmp_path):
    mine = owner()
    assert str(runs.folder()) in mine
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "another"))
    assert owner() != mine


def test_nothing_is_asked_of_other_projects(prepared, server):
    server.add_instance("m1", run="dead", owner=owner())
    prepared.sweep()
    things = ("instances", "images", "storage-pools/clusterproof/volumes")
    asked = [call for call in server.calls if call.path.startswith(things)]
    assert asked
    assert {call.query.get("project") for call in asked} == {"clusterproof"}


def test_an_instance_without_config(prepared, server):
    server.say["GET instances"] = Answer([{"name": "odd", "config": {}}])
    assert prepared.runs() == set()
