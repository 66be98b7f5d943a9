"""Pruning: what is old and only takes room is found and removed; what is in use or of today stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clusterproof.lab import prune
from clusterproof.lab.commands import app
from clusterproof.lab.core import runs
from clusterproof.lab.core.runs import Run
from clusterproof.lab.prune import surplus
from tests.fakes import INCUS_702, bake_beforehand, stay_alone


@pytest.fixture(autouse=True)
def lab_dir(tmp_path, monkeypatch) -> Path:
    stay_alone(monkeypatch, tmp_path / "lab")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lab"


def make_image(name: str, age: int, *, kind: str = "container", **recipe: str) -> Path:
    """Make an image of an old recipe, ``age`` days old, with what lies beside it."""
    folder = runs.folder() / "images" / name
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "rootfs").write_bytes(b"\1" * 2_000_000)
    if kind == "container":
        (folder / "metadata.tar").touch()
    for ending in ("log", "lock"):
        folder.with_name(f"{name}.{ending}").touch()
    os.utime(folder, (2e9 - age * 86400,) * 2)
    return folder


def make_golden(name: str, what: str, image: str, age: int = 0) -> Path:
    folder = runs.folder() / "golden" / name
    folder.mkdir(parents=True)
    (folder / "golden.json").write_text(json.dumps({"what": what, "image": image}))
    os.utime(folder, (2e9 - age * 86400,) * 2)
    return folder


def make_run(number: int) -> Path:
    folder = Path("out") / f"2026010{number}T000000Z-ab12"
    (folder / "evidence" / "cell").mkdir(parents=True)
    (folder / "evidence" / "cell" / "journal.log").write_text("x")
    (folder / "results.jsonl").touch()
    return folder


def found(keep: int = 1) -> set[str]:
    return {path.name for one in surplus(keep, Path("out")) for path in one.paths}


def test_a_lab_without_anything():
    assert surplus(0, Path("out")) == []


def test_images_of_today_s_catalogue_stay():
    bake_beforehand(INCUS_702)
    assert found(0) == set()


def test_the_newest_old_images_of_a_build_stay():
    for name, age in (("aa", 1), ("bb", 3), ("cc", 2)):
        make_image(name, age, build="incus@7.0.2")
    make_image("dd", 9, build="lxd@5.0.2")
    make_image("ee", 9, build="incus@7.0.2", kind="vm")
    assert found(1) == {"bb", "bb.log", "bb.lock", "cc", "cc.log", "cc.lock"}
    assert found(2) == {"bb", "bb.log", "bb.lock"}
    assert found(3) == set()


def test_the_revisions_of_a_channel_are_one_series():
    make_image("aa", 2, build="lxd@5.21/edge=33110")
    make_image("bb", 1, build="lxd@5.21/edge=33120")
    make_image("cc", 3, product="lxd")
    assert found(1) == {"aa", "aa.log", "aa.lock"}


def test_golden_clusters_of_images_that_go_go_with_them():
    make_image("aa", 1, build="incus@7.0.2")
    make_image("bb", 2, build="incus@7.0.2")
    make_golden("old", "three members", "bb")
    make_golden("lost", "three members", "none")
    make_golden("newer", "three members", "aa", age=1)
    make_golden("older", "three members", "aa", age=2)
    (runs.folder() / "golden" / "half.partial").mkdir()
    assert found(1) >= {"old", "lost", "older", "half.partial"}
    assert "newer" not in found(1)


def test_evidence_of_old_runs_goes_and_results_stay():
    old, middle, new = (make_run(number) for number in (1, 2, 3))
    (Path("out") / "latest").symlink_to(new.name)
    (Path("out") / "mine" / "evidence").mkdir(parents=True)
    kept = surplus(2, Path("out"))
    assert [one.paths for one in kept] == [(old / "evidence",)]
    for one in surplus(1, Path("out")):
        one.remove()
    assert not (old / "evidence").exists()
    assert not (middle / "evidence").exists()
    assert (old / "results.jsonl").exists()
    assert (new / "evidence").exists()
    assert (Path("out") / "mine" / "evidence").exists()


def test_evidence_that_is_a_link_is_not_followed(tmp_path):
    run = make_run(1)
    (run / "evidence").rename(tmp_path / "elsewhere")
    (run / "evidence").symlink_to(tmp_path / "elsewhere")
    assert surplus(0, Path("out")) == []


def test_the_command_lists_and_with_yes_removes():
    old, _ = make_image("aa", 2, build="incus@7.0.2"), make_image("bb", 1, build="incus@7.0.2")
    listed = CliRunner().invoke(app, ["prune", "--keep", "1"])
    assert "image: container of incus@7.0.2, aa" in listed.output
    assert "1 MiB  can be freed; --yes does it" in listed.output
    assert old.exists()
    removed = CliRunner().invoke(app, ["prune", "--keep", "1", "--yes"])
    assert "1 MiB  were freed" in removed.output
    assert sorted(path.name for path in old.parent.iterdir()) == ["bb", "bb.lock", "bb.log"]


def test_the_doctor_says_how_much_there_is():
    for number in range(prune.KEEP + 2):
        make_image(f"a{number}", number, build="incus@7.0.2")
    said = " ".join(CliRunner().invoke(app, ["doctor"]).output.split())
    assert "to prune 3 MiB in 2 old images, golden clusters and runs" in said
    assert "clusterproof prune" in said


def test_nothing_is_removed_while_a_run_is_alive():
    old, _ = make_image("aa", 2, build="incus@7.0.2"), make_image("bb", 1, build="incus@7.0.2")
    run = Run.new()
    run.hold()
    refused = CliRunner().invoke(app, ["prune", "--keep", "1", "--yes"])
    assert refused.exit_code == 2
    assert f"run {run.id} uses the lab; prune it when the run has ended" in refused.output
    assert old.exists()
    run.forget()


def test_files_that_another_name_shares_free_nothing(tmp_path):
    folder = make_image("aa", 1, build="incus@7.0.2")
    (tmp_path / "linked").hardlink_to(folder / "rootfs")
    assert prune.Surplus("image", "", (folder,)).size < 1_000_000
