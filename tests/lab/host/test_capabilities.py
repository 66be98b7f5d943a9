"""What the lab offers is decided by the substrate and, where that is not enough, in a member."""

from clusterproof.lab.host.capabilities import CAPABILITIES, missing, probes


def test_what_every_substrate_has_is_not_missing():
    assert missing(("container-instances",), "container") is None
    assert missing((), "container") is None


def test_what_a_substrate_lacks_is_told_with_its_reason():
    assert missing(("container-instances", "vm-instances"), "container") == (
        f"vm-instances: {CAPABILITIES['vm-instances'].why_not}"
    )


def test_members_are_asked_only_for_what_hosts_differ_in():
    asked = probes(("container-instances", "cpu-limits"))
    assert list(asked) == ["cpu-limits"]
    assert "cpuset" in asked["cpu-limits"]


def test_every_reason_completes_its_sentence():
    for name, capability in CAPABILITIES.items():
        everywhere = capability.substrates >= {"container", "vm"} and capability.probe is None
        assert bool(capability.why_not) is not everywhere, name
