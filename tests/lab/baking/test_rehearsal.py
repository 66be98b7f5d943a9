"""Rehearsal snaps: what they are made of, and that they say what snapd wants to read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from clusterproof.lab.baking import install_by_cloud_init, rehearsal, sideload
from clusterproof.lab.builds import catalogue, snap_files
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.sources import REHEARSAL
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import making, recipe
from clusterproof.lab.images.rootfs import RootfsImage

KNOWN = catalogue.load()
SNAP = KNOWN.get("lxd@rehearsal/5.0.2+git20231211")
PACKAGED = KNOWN.get("lxd@5.0.2+git20231211")


class Commands:
    """Stands for the programs that make snaps: a snap is the text of its snap.yaml here."""

    def __init__(self, *_: object) -> None:
        self.done: list[str] = []
        made.append(self)

    def run(self, argv: list[str]) -> None:
        self.done.append(Path(argv[0]).name)
        if argv[0] == "mksquashfs":
            Path(argv[2]).write_bytes((Path(argv[1]) / "meta/snap.yaml").read_bytes())


made: list[Commands] = []


@pytest.fixture
def snaps(tmp_path, monkeypatch) -> Path:
    made.clear()
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.setattr(rehearsal, "LoggedCommands", Commands)
    image = RootfsImage("d1", tmp_path / "rootfs.squashfs", "5.0.2+git20231211.1364ae4-9+deb13u7")
    monkeypatch.setattr(making, "make", lambda *_, **__: image)
    return tmp_path / "lab/snaps"


def make() -> tuple[Path, ...]:
    return rehearsal.make(SNAP, PACKAGED, Path("images"), lambda _: None)


def test_there_are_three_which_lie_beside_each_other(snaps):
    files = make()
    said = {file.name: yaml.safe_load(file.read_text()) for file in files}
    assert list(said) == ["snapd.snap", "core22.snap", "lxd.snap"]
    assert [one["type"] for one in said.values()] == ["snapd", "base", "app"]
    assert [one["name"] for one in said.values()] == ["snapd", "core22", "lxd"]
    lxd = said["lxd.snap"]
    assert lxd["base"] == "core22"
    # Upstream's part of the package's version: snapd takes 32 characters.
    assert lxd["version"] == "5.0.2+git20231211.1364ae4"
    assert lxd["apps"]["daemon"]["sockets"]["unix"]["listen-stream"] == "$SNAP_COMMON/lxd/unix.socket"
    assert not list(snaps.glob("*.partial"))


def test_they_are_made_once_and_the_base_is_shared(snaps):  # noqa: ARG001
    files = make()
    (first,) = made
    assert make() == files
    assert [one.done for one in made[1:]] == [[]]
    files[-1].unlink()
    assert make() == files
    assert "mmdebstrap" in first.done
    assert "mmdebstrap" not in made[-1].done


def test_nothing_is_left_of_what_failed(snaps, monkeypatch):
    def fail(_: Commands, argv: list[str]) -> None:
        raise LabError(f"{argv[0]} ended with 1")

    monkeypatch.setattr(Commands, "run", fail)
    with pytest.raises(LabError, match="unsquashfs ended with 1"):
        make()
    assert not [path for path in snaps.rglob("*") if path.suffix in (".snap", ".partial")]


def test_every_command_can_be_read_by_the_shell():
    files = [path for path in REHEARSAL.rglob("*") if path.is_file()]
    scripts = [path for path in files if path.read_text().startswith("#!/bin/sh")]
    assert len(scripts) >= 9
    for script in scripts:
        assert script.stat().st_mode & 0o100, script
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_what_stands_where_the_server_was_does_not_know_its_version():
    done = subprocess.run(
        ["sh", REHEARSAL / "lxd/stophook", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Invalid argument\n")


def test_the_version_is_that_of_the_snap_once_the_product_has_confirmed_it():
    answers = {"snap list lxd": "Name Version Rev\nlxd 5.0.2+git20231211.1364ae4 x1\n", "--version": "5.0.2\n"}

    def ask(command: str) -> str:
        return next(said for words, said in answers.items() if words in command)

    assert SNAP.first_boot.installed_version(SNAP, ask) == "5.0.2+git20231211.1364ae4+rehearsal"


def test_the_recipe_changes_with_the_packages_and_the_commands_and_not_with_the_readme():
    before = recipe.digest(SNAP)
    assert recipe.recipe(SNAP)["base"] == recipe.digest(PACKAGED)
    files = SNAP.source.recipe["files"]
    assert isinstance(files, dict)
    assert "lxd/commands/daemon.start" in files
    assert "README.md" not in files
    assert recipe.digest(KNOWN.get("lxd@rehearsal/5.0.2")) != before


def test_user_data_waits_for_the_three_and_takes_the_store_away():
    text = install_by_cloud_init.user_data(SNAP, Mirror())
    assert "for number in $(seq 3)" in text
    assert "SNAPPY_FORCE_API_URL=http://127.0.0.1:9/" in text
    assert "snap install lxd --revision" not in text


def test_the_made_snap_can_be_sideloaded_without_a_store(snaps, monkeypatch):  # noqa: ARG001
    *_, lxd = make()
    lxd.write_bytes(b"hsqs")
    monkeypatch.setattr(
        snap_files,
        "described",
        lambda path: {"name": path.stem, "base": "core22", "version": "5.0.2"},
    )
    source = sideload.read(f"lxd={lxd}", KNOWN).first_boot
    handed = [path.name for path in source.handed_over(lambda _: ())]
    assert handed == ["snapd.snap", "core22.snap", "lxd.snap"]
    assert source.image == "debian-trixie"


def test_a_channel_takes_what_was_downloaded(tmp_path, monkeypatch):
    for name in ("lxd_33110", "core24_1055", "snapd_24718"):
        (tmp_path / f"{name}.snap").touch()
    monkeypatch.setattr(
        snap_files,
        "described",
        lambda path: {"name": path.stem.partition("_")[0], "base": "core24"},
    )
    build = KNOWN.get("lxd@5.21/edge").resolved(lambda *_: 33110)
    assert list(build.first_boot.handed_over(lambda _: ())) == []
    monkeypatch.setenv("LAB_SNAP_FILES", str(tmp_path))
    names = [path.stem for path in build.first_boot.handed_over(lambda _: ())]
    assert names == ["snapd_24718", "core24_1055", "lxd_33110"]
    assert "for number in $(seq 3)" in install_by_cloud_init.user_data(build, Mirror())
    said = {"snap list": "Name Version Rev\nlxd git-3c5fda7 x1\n", "--version": "5.21.4 LTS\n"}

    def ask(command: str) -> str:
        return next(text for words, text in said.items() if words in command)

    assert build.first_boot.installed_version(build, ask) == "5.21.4+after.3c5fda7+snap.33110"
