"""Which substrate carries a cell: the whole table, and why none does."""

from __future__ import annotations

import itertools

import pytest

from fixtures import substrates
from fixtures.substrates import Options, choose
from lab import capabilities, vm
from tests.fakes import stand_in

EASY, PROBED, HARD, TOOLED = (), ("cpu-limits",), ("vm-instances",), ("cephfs",)
NO_VM = "qemu-system-x86_64 is not installed; run lab/bootstrap --vm"
NO_CONTAINER = f"vm-instances: {capabilities.CAPABILITIES['vm-instances'].why_not}"


@pytest.fixture
def machines(monkeypatch):
    """Say whether this machine can run virtual machines."""

    def say(*, can: bool) -> None:
        monkeypatch.setattr(substrates.vm, "why_not", lambda: None if can else NO_VM)

    return say


@pytest.mark.parametrize(
    ("wanted", "needs", "can", "expected"),
    [
        ("auto", EASY, True, Options(("container",))),
        ("auto", EASY, False, Options(("container",))),
        ("auto", PROBED, True, Options(("container", "vm"))),
        ("auto", PROBED, False, Options(("container",))),
        ("auto", HARD, True, Options(("vm",))),
        ("auto", HARD, False, Options((), f"{NO_CONTAINER}; {NO_VM}")),
        ("auto", (*PROBED, *HARD), True, Options(("vm",))),
        ("container", EASY, True, Options(("container",))),
        ("container", EASY, False, Options(("container",))),
        ("container", PROBED, True, Options(("container",))),
        ("container", PROBED, False, Options(("container",))),
        ("container", HARD, True, Options((), NO_CONTAINER)),
        ("container", HARD, False, Options((), NO_CONTAINER)),
        ("vm", EASY, True, Options(("vm",))),
        ("vm", EASY, False, Options((), NO_VM)),
        ("vm", PROBED, True, Options(("vm",))),
        ("vm", PROBED, False, Options((), NO_VM)),
        ("vm", HARD, True, Options(("vm",))),
        ("vm", HARD, False, Options((), NO_VM)),
    ],
)
def test_the_choice(machines, wanted, needs, can, expected):
    machines(can=can)
    found = choose(needs, wanted)
    assert found.substrates == expected.substrates
    # There is always a reason; that of none names all that is missing.
    assert found.reason
    assert expected.reason in found.reason


@pytest.mark.parametrize("wanted", ["auto", "container", "vm"])
@pytest.mark.parametrize("can", [True, False])
def test_every_combination_of_needs_has_a_reason(machines, wanted, can):
    machines(can=can)
    names = list(capabilities.CAPABILITIES)
    for needs in itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(4)):
        found = choose(needs, wanted)
        assert found.reason
        if wanted != "auto":
            assert found.substrates in ((), (wanted,))


def test_a_tool_that_is_missing_is_named(machines, monkeypatch, tmp_path):
    machines(can=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    for tool in capabilities.CEPH[1:]:
        stand_in(tmp_path, tool, "true")
    found = choose(TOOLED, "auto")
    assert found.substrates == ()
    assert "cephfs: ceph-mon is not installed; run lab/bootstrap --vm" in found.reason
    stand_in(tmp_path, "ceph-mon", "true")
    assert choose(TOOLED, "auto").substrates == ("vm",)


def test_why_this_machine_has_no_virtual_machines(monkeypatch, tmp_path):
    monkeypatch.setattr(vm.platform, "machine", lambda: "aarch64")
    assert vm.why_not() == "virtual machines are made for x86_64, this is aarch64"
    monkeypatch.setattr(vm.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vm.why_not() == (
        "qemu-system-x86_64, qemu-img, mke2fs, xorriso is not installed; run lab/bootstrap --vm"
    )
    for tool in ("qemu-system-x86_64", "qemu-img", "mke2fs", "xorriso"):
        stand_in(tmp_path, tool, "true")
    assert vm.why_not() is None
