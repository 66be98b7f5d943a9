"""Leftovers: what is mounted inside is found, and never removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import leftovers


class TestMounts:
    INFO = (
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:21 / /srv/x.partial/root/proc rw,relatime - proc proc rw\n"
        "31 22 0:22 / /srv/x.partial/root/a\\040b rw - tmpfs none rw\n"
        "32 22 0:23 / /srv/x.partial-other rw - tmpfs none rw\n"
    )

    def test_inside_a_folder_are_found_with_their_real_names(self, tmp_path):
        (tmp_path / "mountinfo").write_text(self.INFO)
        found = leftovers.mounts_below(Path("/srv/x.partial"), tmp_path / "mountinfo")
        assert found == ["/srv/x.partial/root/proc", "/srv/x.partial/root/a b"]

    def test_that_stay_forbid_removing(self, tmp_path, monkeypatch):
        folder = tmp_path / "x.partial"
        (folder / "root").mkdir(parents=True)
        monkeypatch.setattr(leftovers, "mounts_below", lambda _: [f"{folder}/root"])
        with pytest.raises(LabError, match="cannot be unmounted; unmount it"):
            leftovers.remove_tree(folder)
        assert (folder / "root").exists()

    def test_what_is_gone_already_is_no_error(self, tmp_path):
        (tmp_path / "x.partial/root").mkdir(parents=True)
        (tmp_path / "x.partial-other").mkdir()
        leftovers.remove_tree(tmp_path / "x.partial")
        assert [path.name for path in tmp_path.iterdir()] == ["x.partial-other"]
        leftovers.remove_tree(tmp_path / "x.partial")
