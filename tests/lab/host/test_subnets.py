"""Subnets: the lab's bridge gets one that nobody uses."""

from __future__ import annotations

import json
import subprocess
import types
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host import subnets
from clusterproof.lab.host.endpoint import Endpoint
from tests.fakes import Refusal


def test_the_bridge_s_subnet_is_used_by_nobody(host, server, monkeypatch):
    for name, address in {"a": "10.176.0.1/16", "b": "none", "c": ""}.items():
        server.networks[name] = {"name": name, "config": {"ipv4.address": address}}
    for name in ("eth0", "eth1"):
        server.networks[name] = {"name": name, "config": {}}
    server.addresses = {"eth0": ["10.177.0.1/24", "fe80::1/64"]}
    server.info["environment"]["addresses"] = ["10.177.32.5:8443", "[fd42::1]:8443", "*:8443"]
    monkeypatch.setattr(subnets, "local", lambda: [IPv4Network("10.177.16.0/24")])
    host.facts = server.info
    host.prepare()
    assert host.gateway == IPv4Interface("10.177.48.1/20")


def test_an_interface_that_goes_away_meanwhile_is_in_nobody_s_way(host, server):
    server.networks["veth1"] = {"name": "veth1", "config": {}}
    server.say["GET networks/veth1/state"] = Refusal(404, "Network not found")
    host.prepare()
    assert host.gateway == IPv4Interface("10.176.0.1/20")


def test_a_host_elsewhere_has_routes_of_its_own(host, monkeypatch):
    monkeypatch.setattr(subnets, "local", lambda: [IPv4Network("10.176.0.0/16")])
    host.endpoint = Endpoint("https://server.example:8443")
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
        found = subnets.free(used)
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
        subnets.free([IPv4Network(used)])


def test_every_part_of_the_range_is_used():
    parts = list(IPv4Network("10.176.0.0/12").subnets(new_prefix=20))
    with pytest.raises(LabError, match="no private subnet is free"):
        subnets.free([IPv4Network((part.network_address + 77, 32)) for part in parts])
    assert subnets.free(parts[:-1]).network == parts[-1]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], []),
        ([{"dst": "default"}, {"dst": "10.1.0.0/16"}], ["10.1.0.0/16"]),
        ([{"dst": "10.2.3.4"}, {"type": "local", "dst": "127.0.0.0/8"}, {}], ["10.2.3.4/32", "127.0.0.0/8"]),
        ([{"dst": "0.0.0.0/0"}], []),
    ],
)
def test_the_subnets_of_this_computer(monkeypatch, said, expected):
    monkeypatch.undo()
    done = types.SimpleNamespace(stdout=json.dumps(said).encode())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr("shutil.which", lambda name: f"/sbin/{name}")
    assert subnets.local() == [IPv4Network(network) for network in expected]
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert subnets.local() == []
