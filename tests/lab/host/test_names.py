"""Names: what the kernel calls a thing says which lab, run and process made it."""

from __future__ import annotations

import os

import pytest

from clusterproof.lab.core import runs
from clusterproof.lab.core.runs import Run
from clusterproof.lab.host.names import interface, prefix, process_of, run_of

RUN = "20260102T030405Z-c271"


@pytest.fixture(autouse=True)
def lab_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))


def test_an_instance_says_who_made_it():
    name = f"{prefix(Run(RUN))}-7-m1"
    assert name == f"cp-{runs.tag()}-c271-{os.getpid():x}-7-m1"
    assert (process_of(name), run_of(name)) == (os.getpid(), "c271")


def test_its_interface_says_it_too_within_the_kernel_s_fifteen_characters():
    names = [f"{prefix(Run(RUN))}-{number}-m1" for number in range(200)]
    interfaces = {interface(name) for name in names}
    assert len(interfaces) == len(names)
    assert {len(one) for one in interfaces} == {15}
    assert {run_of(one) for one in interfaces} == {"c271"}


def test_what_another_lab_made_is_none_of_ours(monkeypatch, tmp_path):
    name = f"{prefix(Run(RUN))}-7-m1"
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "another"))
    assert process_of(name) is None
    assert run_of(name) is None
    assert run_of(interface(name)) is None


@pytest.mark.parametrize("name", ["cp", "cpu0", "veth4ecfefd0", "person", "cp-c271-2f12-7-m1", "cp-zz-c2-1-m1"])
def test_other_names(name):
    assert process_of(name) is None
    assert run_of(name) is None
