"""Baking: what is missing is made, once; what the installed product says of itself is what counts."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clusterproof.lab.baking import bake as baking
from clusterproof.lab.baking import base_image, install_by_cloud_init
from clusterproof.lab.baking.bake import bake, bake_all, bake_vm, baked
from clusterproof.lab.builds import catalogue
from clusterproof.lab.cluster import daemon as daemons
from clusterproof.lab.core import waiting
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import making, recipe, rootfs
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.kinds import CONTAINER, VM
from clusterproof.lab.substrates import container as containers
from clusterproof.lab.substrates.machine import CommandTimeoutError, Result
from tests.fakes import (
    INCUS_604,
    INCUS_702,
    LXD_502,
    FakeMachine,
    FakeServer,
    Refusal,
    bake_beforehand,
    lab_host,
    out,
)

EXTENSIONS = ["projects", "etag", "backup"]
SCHEMA = "+--------+\n| newest |\n+--------+\n| 77     |\n+--------+\n"


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def host(server, tmp_path, monkeypatch) -> Host:
    return lab_host(server, tmp_path, monkeypatch)


@pytest.fixture
def installs(host, monkeypatch):  # noqa: ARG001
    """Root file systems are made at once; the list of what was made."""
    made = []

    def make(entry, into, progress, mirror=None, **options):
        assert into == baking.folder()
        progress("installing")
        made.append((entry.name, mirror, options.get("force", False)))
        if found := rootfs.find(entry, into):
            shutil.rmtree(found.folder)
        bake_beforehand(entry, truth=False)
        return rootfs.find(entry, into)

    monkeypatch.setattr(making, "make", make)
    return made


@pytest.fixture
def machines(host, monkeypatch) -> list[FakeMachine]:  # noqa: ARG001
    """Machines of members that say what they are; those that were used."""
    used = []

    def machine(_, name, image):
        answers = [
            ("query /1.0", out(json.dumps({"api_extensions": EXTENSIONS}))),
            ("sql global", out(SCHEMA)),
        ]
        used.append(FakeMachine(name, image, answers=answers))
        return used[-1]

    monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
    return used


def recorded():
    lines = []
    return lines, lambda thing, doing: lines.append(f"{thing}: {doing}")


def test_from_nothing_to_an_image(host, server, installs, machines):
    lines, progress = recorded()
    image = bake(INCUS_702, host, progress, mirror="https://deb.example.org/debian")
    assert installs == [("incus@7.0.2", "https://deb.example.org/debian", False)]
    assert image.build.name == "incus@7.0.2"
    assert image.build.version == "7.0.2-1"
    assert (image.build.api_extensions, image.build.schema_version) == (3, 77)
    assert image.extensions == set(EXTENSIONS)
    assert image.digest == recipe.digest(INCUS_702)
    # The host calls the image what the lab does, so that it can be looked for.
    assert list(server.images["clusterproof"]) == [image.fingerprint]
    assert lines == [
        "incus@7.0.2: installing",
        "incus@7.0.2: importing",
        "incus@7.0.2: asking the installed product what it is",
        "incus@7.0.2: ready",
    ]
    (machine,) = machines
    assert machine.image.fingerprint == image.fingerprint
    assert machine.done == ["create", "start", "destroy"]


def test_the_second_time_nothing_is_done(host, server, installs, machines):
    first = bake(INCUS_702, host, recorded()[1])
    server.calls.clear()
    lines, progress = recorded()
    assert bake(INCUS_702, host, progress) == first == baked(INCUS_702)
    assert lines == ["incus@7.0.2: ready"]
    assert (len(installs), len(machines)) == (1, 1)
    assert server.lines("POST", "PUT", "DELETE") == []


def test_a_host_that_lost_the_image_gets_it_again(host, server, installs, machines):
    image = bake(INCUS_702, host, recorded()[1])
    server.images["clusterproof"].clear()
    lines, progress = recorded()
    assert bake(INCUS_702, host, progress) == image
    assert lines == ["incus@7.0.2: importing", "incus@7.0.2: ready"]
    assert list(server.images["clusterproof"]) == [image.fingerprint]
    assert (len(installs), len(machines)) == (1, 1)


def test_what_was_killed_half_way_is_taken_up_again(host, installs, machines):
    bake_beforehand(INCUS_702, truth=False)
    lines, progress = recorded()
    bake(INCUS_702, host, progress)
    assert installs == []
    assert lines[0] == "incus@7.0.2: importing"
    assert len(machines) == 1


@pytest.mark.usefixtures("installs", "machines")
@pytest.mark.parametrize("text", ["", "{", '{"fingerprint": "ab'])
def test_a_damaged_note_of_what_the_build_is(host, text):
    (bake_beforehand(INCUS_702) / "truth.json").write_text(text)
    assert baked(INCUS_702) is None
    assert bake(INCUS_702, host, recorded()[1]).build.schema_version == 77
    assert baked(INCUS_702).build.schema_version == 77


@pytest.mark.usefixtures("host")
def test_what_is_not_baked_yet():
    assert baked(INCUS_702) is None
    bake_beforehand(INCUS_702, truth=False)
    assert baked(INCUS_702) is None


def test_force_makes_it_again(host, installs, machines):
    bake(INCUS_702, host, recorded()[1])
    bake(INCUS_702, host, recorded()[1], force=True)
    assert [force for _, _, force in installs] == [False, True]
    assert len(machines) == 2


def test_what_cannot_be_made_again_stays(host, monkeypatch):
    bake_beforehand(INCUS_702)
    image = baked(INCUS_702)

    def fail(*_, **__):
        raise LabError("no network")

    monkeypatch.setattr(making, "make", fail)
    with pytest.raises(LabError, match="no network"):
        bake(INCUS_702, host, recorded()[1], force=True)
    assert baked(INCUS_702) == image


def test_of_two_at_once_one_makes_it(host, installs, machines):
    ready = threading.Barrier(2)

    def one(_):
        ready.wait(10)
        return bake(INCUS_702, host, recorded()[1])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, range(2))
    assert first == second
    assert (len(installs), len(machines)) == (1, 1)


@pytest.mark.usefixtures("installs")
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("query /1.0", Result(1, "", "Error: daemon not ready")),
        ("query /1.0", out("no JSON")),
        ("query /1.0", out("{}")),
        ("sql global", Result(1, "", "Error: no such table")),
        ("sql global", out("+---+\n")),
        ("query /1.0", CommandTimeoutError("query was still running")),
        ("start --no-block", Result(5, "", "Unit not found")),
        ("internal/ready", Result(22, "", "")),
    ],
)
def test_a_product_that_does_not_say_what_it_is(host, machines, monkeypatch, command, answer):
    def impatient(probe, **options):
        return waiting.eventually(probe, **{**options, "within": 0})

    monkeypatch.setattr(daemons, "eventually", impatient)
    plain: Any = containers.Container

    def machine(*args):
        made = plain(*args)
        made.answers.insert(0, (command, answer))
        return made

    monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
    with pytest.raises(LabError, match=r"incus@7\.0\.2 was installed but does not say what it is: "):
        bake(INCUS_702, host, recorded()[1])
    assert machines[0].done[-1] == "destroy"
    # What was installed is kept; the next time it is only asked again.
    assert baked(INCUS_702) is None
    assert rootfs.find(INCUS_702, baking.folder()) is not None


@pytest.mark.usefixtures("installs")
def test_a_member_that_does_not_boot(host, machines, monkeypatch):
    plain: Any = containers.Container

    def machine(*args):
        made = plain(*args)
        made.broken["start"] = LabError("member did not boot")
        return made

    monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
    with pytest.raises(LabError, match="did not boot"):
        bake(INCUS_702, host, recorded()[1])
    assert machines[0].done == ["create", "start", "destroy"]


@pytest.mark.usefixtures("installs")
def test_a_host_that_does_not_take_the_image(host, server):
    server.say["POST images"] = Refusal(500, "no space left on device")
    with pytest.raises(LabError, match=r"lab host did not accept image \w{12}: .*no space left on device"):
        bake(INCUS_702, host, recorded()[1])


@pytest.mark.usefixtures("installs")
def test_a_host_that_goes_away(host, server):
    server.stop()
    with pytest.raises(LabError, match="host"):
        bake(INCUS_702, host, recorded()[1])


@pytest.mark.usefixtures("machines")
def test_several_builds_and_the_reason_for_each_that_failed(host, installs, monkeypatch):
    plain = making.make

    def make(entry, *args, **options):
        if entry is INCUS_604:
            raise LabError("cannot install incus@6.0.4: no network")
        return plain(entry, *args, **options)

    monkeypatch.setattr(making, "make", make)
    lines, progress = recorded()
    found = bake_all([LXD_502, INCUS_604, INCUS_702], host, progress, mirror="https://deb.example.org")
    assert list(found) == ["lxd@5.0.2", "incus@6.0.4", "incus@7.0.2"]
    made = {name: image for name, image in found.items() if isinstance(image, Image)}
    assert made["lxd@5.0.2"].build.product == "lxd"
    assert made["incus@7.0.2"].build.product == "incus"
    assert str(found["incus@6.0.4"]) == "cannot install incus@6.0.4: no network"
    assert "incus@6.0.4: failed: cannot install incus@6.0.4: no network" in lines
    assert {mirror for _, mirror, _ in installs} == {"https://deb.example.org"}


@pytest.mark.usefixtures("installs")
def test_a_lost_host_fails_every_build_and_nothing_else(host, server):
    server.stop()
    found = bake_all([LXD_502, INCUS_702], host, recorded()[1])
    assert all(isinstance(reason, LabError) for reason in found.values())


def test_an_interrupt_stops_those_that_bake(host, monkeypatch):
    begun, stopped = threading.Event(), []

    def make(entry, into, progress, *, stop, **_):  # noqa: ARG001
        begun.set()
        stopped.append(stop.wait(10))
        raise LabError("stopped")

    def interrupt(*_):
        begun.wait(10)
        raise KeyboardInterrupt

    class Interrupted(ThreadPoolExecutor):
        def map(self, fn, *iterables, timeout=None, chunksize=1):  # noqa: ARG002
            submitted = [self.submit(fn, thing) for thing in iterables[0]]
            assert submitted
            return (interrupt() for _ in submitted)

    monkeypatch.setattr(making, "make", make)
    monkeypatch.setattr(baking, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        bake_all([INCUS_702], host, recorded()[1])
    assert stopped == [True]


class TestForVirtualMachines:
    """The image of the other kind: made in the same way, and of the same version."""

    CHANNEL = "incus@debian/trixie-backports"

    @pytest.fixture
    def makes(self, host, monkeypatch):  # noqa: ARG002
        """What was made: name, kind, and whether it is filled by a first boot; all are of one version."""
        made = []

        def make(entry, into, progress, mirror=None, *, kind=CONTAINER, fill=None, **_):  # noqa: ARG001
            made.append((entry.name, kind.name, fill is not None))
            version = fill(into / "root") if fill else self.version
            return rootfs.RootfsImage(recipe.digest(entry, kind=kind), into / "root.img", version)

        monkeypatch.setattr(making, "make", make)
        self.version = "7.0.2-1"
        return made

    def image(self, version: str = "7.0.2-1") -> Image:
        return Image(INCUS_702.installed(version, 3, 77), INCUS_702.facts, "d", "f", frozenset(EXTENSIONS))

    def test_is_the_same_build_with_another_disk(self, host, makes):
        found = bake_vm(INCUS_702, self.image(), host, recorded()[1])
        assert makes == [("incus@7.0.2", "vm", False)]
        assert (found.digest, found.fingerprint) == (recipe.digest(INCUS_702, kind=VM), "")
        assert (found.build, found.extensions) == (self.image().build, frozenset(EXTENSIONS))

    @pytest.mark.usefixtures("makes")
    @pytest.mark.parametrize("version", ["7.0.2-2", "1:7.0.2-1", "7.0.2-debian13-1-2"])
    def test_of_another_version_is_refused(self, host, version):
        self.version = version
        with pytest.raises(LabError, match=rf"VMs {version}: the archive has moved"):
            bake_vm(INCUS_702, self.image(), host, recorded()[1])

    @pytest.mark.usefixtures("makes")
    def test_of_another_distribution_is_the_same(self, host):
        self.version = "1:7.0.2-debian13-202611010203"
        other = self.image("1:7.0.2-ubuntu24.04-202611010203")
        assert bake_vm(INCUS_702, other, host, recorded()[1]).build.version == other.build.version

    def test_of_a_channel_is_installed_in_a_machine_with_debian(self, host, makes, monkeypatch):
        entry = catalogue.load().get(self.CHANNEL)
        asked = []

        def fill(build, base, host, progress, text, root, files):  # noqa: ARG001
            asked.append((build.name, base.digest, text))
            return "7.0.2-1"

        monkeypatch.setattr(install_by_cloud_init, "fill_in_vm", fill)
        bake_vm(entry, self.image(), host, recorded()[1], mirror="https://deb.example.org/debian")
        assert makes == [(self.CHANNEL, "vm", True), ("incus@base-trixie", "vm", False)]
        ((name, base, text),) = asked
        assert name == self.CHANNEL
        assert base == recipe.digest(base_image.base_build(entry), kind=VM)
        assert "incus-base incus-client incus-agent" in text
