"""The lab's project, pool and bridge: made once, removed together, and nothing else is touched."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host import objects
from tests.fakes import Refusal

pytestmark = pytest.mark.parametrize("product", ["incus", "lxd"])
BRIDGE = "clusterproof0"
OURS = {"name": BRIDGE, "config": {"user.clusterproof": "true", "ipv4.address": "10.177.0.1/20"}}


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
    with pytest.raises(LabError, match=r"lab host (incus 6\.0\.4|lxd 5\.0\.2): .*Read-only file system"):
        host.prepare()


@pytest.mark.parametrize("config", [{"ipv4.address": "10.1.0.1/24"}, {}])
def test_a_foreign_network_of_our_name_is_refused(host, server, config):
    server.networks[BRIDGE] = {"name": BRIDGE, "config": config}
    with pytest.raises(LabError, match="network clusterproof0 that clusterproof did not make"):
        host.prepare()
    assert server.networks[BRIDGE]["config"] == config


def test_an_interface_that_the_host_knows_nothing_of_is_refused(host, server):
    server.say["POST networks"] = Refusal(400, 'Network interface "clusterproof0" already exists')
    with pytest.raises(LabError, match=r"has an interface clusterproof0 that .*ip link delete clusterproof0"):
        host.prepare()


def test_a_bridge_that_cannot_be_made(host, server):
    server.say["POST networks"] = Refusal(500, "Failed starting dnsmasq")
    with pytest.raises(LabError, match=r"lab host (incus 6\.0\.4|lxd 5\.0\.2): .*Failed starting dnsmasq"):
        host.prepare()


def test_a_foreign_pool_of_our_name_is_refused(host, server):
    server.pools["clusterproof"] = {"name": "clusterproof", "driver": "zfs", "config": {}}
    with pytest.raises(LabError, match="pool clusterproof that clusterproof did not make"):
        host.prepare()


def test_a_foreign_project_of_our_name_is_refused(host, server):
    server.projects["clusterproof"] = {"name": "clusterproof", "config": {}}
    with pytest.raises(LabError, match="project clusterproof that clusterproof did not make"):
        host.prepare()


def test_removing_removes_the_lab_and_nothing_else(prepared, server):
    server.images["clusterproof"]["ab12"] = {"fingerprint": "ab12"}
    server.images["default"]["cd34"] = {"fingerprint": "cd34"}
    server.networks["br0"] = {"name": "br0", "config": {}}
    server.pools["default"] = {"name": "default", "config": {}}
    objects.remove(prepared)
    assert list(server.projects) == ["default"]
    assert list(server.networks) == ["br0"]
    assert list(server.pools) == ["default"]
    assert server.images == {"clusterproof": {}, "default": {"cd34": {"fingerprint": "cd34"}}}
    objects.remove(prepared)


def test_removing_leaves_what_others_made_under_our_names(prepared, server):
    server.projects["clusterproof"]["config"] = {}
    server.images["clusterproof"]["ab12"] = {"fingerprint": "ab12"}
    server.pools["clusterproof"]["config"] = {}
    server.networks[BRIDGE]["config"] = {}
    objects.remove(prepared)
    assert "clusterproof" in server.projects
    assert "ab12" in server.images["clusterproof"]
    assert "clusterproof" in server.pools
    assert BRIDGE in server.networks


def test_what_cannot_be_removed_is_told(prepared, server):
    server.say["DELETE projects/clusterproof"] = Refusal(400, "Only empty projects can be removed")
    with pytest.raises(LabError, match=r"the lab from (incus 6\.0\.4|lxd 5\.0\.2): .*Only empty projects"):
        objects.remove(prepared)
