"""Golden clusters: what they belong to, that only whole ones count, and what happens when one is none.

The machines are stand-ins that keep VirtualMachine's contract: saving leaves files, going on needs them.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from clusterproof.lab.cluster import golden as goldens
from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.cluster.golden import Golden, members
from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from clusterproof.lab.substrates import acceleration, preseeds, qemu, seed
from clusterproof.lab.substrates.machine import Result
from clusterproof.lab.substrates.qemu_vm import VirtualMachine
from tests.fakes import FakeServer, image, stay_alone

PARTS = ("memory", "root.qcow2", "state.img")


class StandIn(VirtualMachine):
    """A machine that is none; ``did`` is what was done with all of them, ``broken`` raises by what is done."""

    did: list[str]
    broken: dict[str, Exception]

    def __init__(self, name, image) -> None:
        self.name, self.image, self.address, self.should_run = name, image, "10.99.0.1", False

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.broken:
            raise self.broken[what]

    def create(self) -> None:
        self._do("create")

    def start(self) -> None:
        self._do("start")

    def pause(self) -> None:
        self._do("pause")

    def save(self, into: Path) -> None:
        into.mkdir()
        for name in PARTS:
            (into / name).write_text(f"{name} of {self.name}")
        self._do("save")

    def resume(self, saved: Path) -> None:
        assert all((saved / name).exists() for name in PARTS)
        self._do("go on")

    def destroy(self) -> None:
        self._do("destroy")

    def execute(self, argv, *, timeout, stdin=None) -> Result:  # noqa: ARG002
        return Result(0, "", "")


@pytest.fixture
def did(monkeypatch) -> list[str]:
    """What was done with machines, in its order."""
    done: list[str] = []
    monkeypatch.setattr(StandIn, "did", done, raising=False)
    return done


@pytest.fixture
def broken(monkeypatch) -> dict[str, Exception]:
    """What fails, by what is done."""
    causes: dict[str, Exception] = {}
    monkeypatch.setattr(StandIn, "broken", causes, raising=False)
    return causes


@pytest.fixture
def host(tmp_path, monkeypatch, did, broken):  # noqa: ARG001
    stay_alone(monkeypatch, tmp_path / "lab")
    (tmp_path / "lab" / "images" / image().digest).mkdir(parents=True)
    disk = tmp_path / "root.img"
    disk.write_text("disk")

    def substrate(_: Run, keys: Path) -> SimpleNamespace:
        keys.mkdir(exist_ok=True)
        (keys / "host").touch()
        return SimpleNamespace(name="vm", machine=lambda name, image, _: StandIn(name, image))

    monkeypatch.setattr(goldens, "VirtualMachines", substrate)
    monkeypatch.setattr(goldens, "VirtualMachine", StandIn)
    monkeypatch.setattr(goldens, "disk_of", lambda _: SimpleNamespace(rootfs=disk))
    monkeypatch.setattr(acceleration, "version", lambda: "10.0.2")
    monkeypatch.setattr(acceleration, "chosen", lambda _: "tcg")
    monkeypatch.setattr(goldens, "SPACE", 1)
    monkeypatch.setattr(Cluster, "form", lambda _: did.append("form"))
    monkeypatch.setattr(Cluster, "expect_online", lambda *_: did.append("online"))
    run = Run.new()
    run.hold()
    with FakeServer() as server:
        yield Host(Endpoint(str(server.socket)), run, Transcript())


@pytest.fixture
def failed() -> list[Cluster]:
    """The clusters that could not be made, as they were told."""
    return []


@pytest.fixture
def use(host, failed):
    """Use a golden cluster as a cell does; return it."""

    def one(count: int = 2, *, formed: bool = True) -> Cluster:
        with members(host, Transcript(), image(), count, formed=formed, failed=failed.append) as cluster:
            return cluster

    return one


def saved() -> list[Path]:
    return sorted(path for path in goldens.place().glob("*"))


def test_is_built_once_and_gone_on_from_each_time(use, did, failed):
    first, second = use(), use()
    assert did.count("form") == 1
    assert did.count("go on") == 4
    assert [member.name for member in second.members] == ["m1", "m2"]
    assert first.formed
    assert second.formed
    assert failed == []


def test_all_stand_still_before_the_first_is_written(use, did):
    use(3)
    assert did.index("save") > [at for at, what in enumerate(did) if what == "pause"][-1]


def test_machines_alone_are_not_joined(use, did):
    cluster = use(formed=False)
    assert "form" not in did
    assert "online" not in did
    assert not cluster.formed


class TestIdentity:
    def test_is_the_same_for_the_same(self, host):  # noqa: ARG002
        assert Golden(image(), 3, True).folder == Golden(image(), 3, True).folder

    def test_differs_by_number_and_by_being_formed(self, host):  # noqa: ARG002
        assert len({Golden(image(), n, formed).folder for n in (1, 2, 3) for formed in (True, False)}) == 6

    @pytest.mark.parametrize("change", ["recipe", "disk", "qemu", "accelerator", "memory", "seed", "preseed"])
    def test_changes_with(self, host, monkeypatch, tmp_path, change):  # noqa: ARG002
        before, made = Golden(image(), 3, True).folder, image()
        match change:
            case "recipe":
                made = dataclasses.replace(made, digest="d2" * 32)
            case "disk":
                (tmp_path / "root.img").write_text("another disk")
            case "qemu":
                monkeypatch.setattr(acceleration, "version", lambda: "11.1.0")
            case "accelerator":
                monkeypatch.setattr(acceleration, "chosen", lambda _: "kvm")
            case "memory":
                monkeypatch.setattr(qemu, "MEMORY", 2048)
            case "seed":
                copied = shutil.copytree(seed.TEMPLATES, tmp_path / "seeds")
                (copied / "user-data.yaml").write_text("#cloud-config\n")
                monkeypatch.setattr(seed, "TEMPLATES", copied)
            case "preseed":
                copied = shutil.copytree(preseeds.FOLDER, tmp_path / "preseeds")
                (copied / "join.yaml").write_text("cluster: {}\n")
                monkeypatch.setattr(preseeds, "FOLDER", copied)
        assert Golden(made, 3, True).folder != before


@pytest.mark.parametrize("damage", ["shorter", "missing", "torn note", "no note", "note of nothing"])
def test_what_is_not_whole_is_made_anew(use, did, damage):
    use()
    (folder,) = saved()
    match damage:
        case "shorter":
            (folder / "m2" / "memory").write_text("m")
        case "missing":
            (folder / "m1" / "root.qcow2").unlink()
        case "torn note":
            (folder / "golden.json").write_text('{"what": "gol')
        case "no note":
            (folder / "golden.json").unlink()
        case "note of nothing":
            (folder / "golden.json").write_text("{}")
    use()
    assert did.count("form") == 2
    assert saved() == [folder]


class TestThatCannotBeSaved:
    def test_for_a_full_disk_while_it_is_written(self, use, broken, did, failed):
        broken["save"] = OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(LabError, match=(
            r"golden cluster of 2 members with incus@7\.0\.2.*could not be saved below .*No space left on device"
        )):  # fmt: skip
            use()
        assert saved() == []
        assert len(failed) == 1
        assert did.count("destroy") == 2

    def test_for_want_of_room(self, use, monkeypatch, did):
        monkeypatch.setattr(goldens, "SPACE", 1 << 62)
        with pytest.raises(LabError, match="make room there or set LAB_DIR"):
            use()
        assert "save" not in did
        assert saved() == []

    @pytest.mark.parametrize("what", ["create", "start", "pause", "save"])
    def test_because_of_a_machine(self, use, broken, did, failed, what):
        broken[what] = LabError("member m1 is gone: QEMU has ended: killed")
        with pytest.raises(LabError, match="member m1 is gone"):
            use()
        assert saved() == []
        assert len(failed) == 1
        assert did.count("destroy") == 2

    def test_because_of_an_interrupt(self, use, broken, failed):
        broken["start"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            use()
        assert saved() == []
        assert len(failed) == 1


class TestThatDoesNotComeBack:
    def test_is_made_anew_once_and_then_it_is_the_labs_failure(self, use, broken, did, failed):
        broken["go on"] = LabError("machine m1: Not a migration stream")
        with pytest.raises(LabError, match="Not a migration stream"):
            use()
        assert did.count("form") == 2
        assert len(failed) == 2
        assert saved() == []

    def test_is_made_anew_and_used(self, use, did, failed, monkeypatch):
        use()
        causes = [LabError("the cluster did not come back: m2 is OFFLINE")]

        def online(*_: object) -> None:
            if causes:
                raise causes.pop()

        monkeypatch.setattr(Cluster, "expect_online", online)
        assert use().formed
        assert did.count("form") == 2
        assert len(failed) == 1
        assert len(saved()) == 1

    def test_is_kept_when_somebody_interrupts(self, use, broken, did):
        use()
        broken["go on"] = KeyboardInterrupt()
        before = did.count("destroy")
        with pytest.raises(KeyboardInterrupt):
            use()
        assert did.count("destroy") == before + 2
        assert len(saved()) == 1


class TestPruning:
    def old(self, name: str, content: str | None = None) -> Path:
        folder = goldens.place() / name
        folder.mkdir(parents=True)
        (folder / "golden.json").write_text(content or json.dumps({"what": "another", "image": image().digest}))
        return folder

    def test_what_is_of_another_shape_stays(self, use):
        use(1)
        use(2)
        assert len(saved()) == 2

    def test_what_was_replaced_goes(self, use, monkeypatch):
        use()
        monkeypatch.setattr(acceleration, "version", lambda: "11.1.0")
        use()
        assert len(saved()) == 1

    @pytest.mark.parametrize("content", ['{"what": "x", "image": "gone"}', '{"wh', "{}"])
    def test_what_is_of_an_image_that_is_gone_or_not_whole_goes(self, use, host, content):  # noqa: ARG002
        folder = self.old("0" * 32, content)
        use()
        assert not folder.exists()

    def test_what_somebody_killed_has_left_goes(self, use, host):  # noqa: ARG002
        partial = goldens.place() / f"{'0' * 32}.partial"
        partial.mkdir(parents=True)
        use()
        assert not partial.exists()

    def test_what_another_process_makes_stays(self, use, host):  # noqa: ARG002
        folder, partial = self.old("0" * 32, "{}"), goldens.place() / f"{'1' * 32}.partial"
        partial.mkdir()
        with runs.lock(f"golden-{'0' * 32}"), runs.lock(f"golden-{'1' * 32}"):
            use()
        assert folder.exists()
        assert partial.exists()
