"""Making an image: installing, what is found again, what a failure is called, and leftovers."""

from __future__ import annotations

import json
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from clusterproof.lab.builds import apt_mirror, catalogue
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import logged_commands, making, recipe, rootfs
from tests.fakes import bake_with_stand_ins, stand_in

BUILD = catalogue.load().get("incus@7.5.1")
STABLE = catalogue.load().get("lxd@5.0.2")


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """A PATH that begins with stand-ins; the guard around commands is left away."""
    folder = bake_with_stand_ins(tmp_path, monkeypatch)
    stand_in(folder, "mksquashfs", 'echo squashed >"$2"')
    stand_in(folder, "dpkg-query", r"printf 'attr\t1:2.5\tamd64\nincus-base\t7.5.1-1~exp2\tamd64\n'")
    stand_in(folder, "mmdebstrap", INSTALLS)
    return folder


INSTALLS = """
for last; do case $last in */root) mkdir "$last"; echo installed >"$last/file" ;; esac; done
echo 'I: installing remaining packages inside the chroot...'
echo 'I: success in 1 seconds'
"""


def ignore(_: str) -> None:
    pass


@pytest.mark.usefixtures("tools")
class TestInstalling:
    def arguments(self, build, tools, tmp_path):
        stand_in(tools, "mmdebstrap", f"printf '%s\\n' \"$@\" >{tmp_path}/arguments\n{INSTALLS}")
        stand_in(tools, "dpkg-query", rf"printf '{build.facts.packages[0]}\t1.0-1\tamd64\n'")
        making.make(build, tmp_path / "out", ignore)
        return (tmp_path / "arguments").read_text().splitlines()

    def test_over_a_base_adds_the_suite_with_its_pin(self, tools, tmp_path):
        given = self.arguments(BUILD, tools, tmp_path)
        hook = next(line for line in given if line.startswith("--setup-hook="))
        assert hook.endswith("\"$1\" experimental n=rc-buggy '*incus*'")
        assert given[-1] == "deb https://deb.example.org/debian sid main"
        assert any(line.startswith("--include=systemd,") and "incus-base" in line for line in given)

    def test_of_a_stable_suite_takes_security_updates_where_known(self, tools, tmp_path, monkeypatch):
        known = Mirror("https://deb.example.org/debian", "https://sec.example.org/security")
        monkeypatch.setattr(apt_mirror, "find", lambda _=None: known)
        given = self.arguments(STABLE, tools, tmp_path)
        assert given[-2:] == [
            "deb https://deb.example.org/debian bookworm main",
            "deb https://sec.example.org/security bookworm-security main",
        ]
        assert not any(line.startswith("--setup-hook=") for line in given)

    def test_without_a_known_mirror_leaves_it_to_mmdebstrap(self, tools, tmp_path, monkeypatch):
        monkeypatch.setattr(apt_mirror, "find", lambda _=None: Mirror())
        given = self.arguments(STABLE, tools, tmp_path)
        assert given[-2] == "bookworm"
        assert given[-1].endswith("/root")

    @pytest.mark.parametrize(
        ("line", "added"),
        [
            (
                "deb https://deb.example.org/debian sid main",
                "deb https://deb.example.org/debian exp main",
            ),
            (
                'deb [signed-by="/k.gpg" arch=amd64] https://deb.example.org/debian sid main contrib',
                'deb [signed-by="/k.gpg" arch=amd64] https://deb.example.org/debian exp main',
            ),
        ],
    )
    def test_a_further_suite_comes_from_the_same_archive(self, tmp_path, line, added):
        preferences = tmp_path / "etc/apt/preferences.d"
        preferences.mkdir(parents=True)
        sources = tmp_path / "etc/apt/sources.list"
        sources.write_text(f"{line}\n")
        script = recipe.IMAGES / "container/add-suite"
        subprocess.run(["sh", script, tmp_path, "exp", "n=rc-buggy", "*incus*", "*cowsql*"], check=True)
        assert sources.read_text() == f"{line}\n{added}\n"
        assert (preferences / "clusterproof").read_text() == (
            "Package: *incus* *cowsql*\nPin: release n=rc-buggy\nPin-Priority: 990\n"
        )


@pytest.mark.usefixtures("tools")
class TestMaking:
    def test_gives_an_image_that_is_found_again(self, tmp_path):
        said: list[str] = []
        image = making.make(BUILD, tmp_path / "out", said.append)
        assert image == rootfs.find(BUILD, tmp_path / "out")
        assert image.package_version == "7.5.1-1~exp2"
        assert image.digest == recipe.digest(BUILD) == image.folder.name
        assert image.rootfs.read_text() == "squashed\n"
        names = sorted(path.name for path in image.folder.iterdir())
        assert names == ["metadata.tar", "packages.tsv", "recipe.json", "rootfs.squashfs"]
        assert json.loads((image.folder / "recipe.json").read_text())["build"] == "incus@7.5.1"
        assert "installing remaining packages inside the chroot" in said
        assert not any("success" in line for line in said)

    def test_describes_the_image(self, tmp_path):
        image = making.make(BUILD, tmp_path / "out", ignore)
        with tarfile.open(image.metadata) as tar:
            names = tar.getnames()
            opened = tar.extractfile("metadata.yaml")
            assert opened
            text = opened.read().decode()
        assert names == ["metadata.yaml", "templates/hostname.tpl", "templates/hosts.tpl"]
        assert 'clusterproof.build: "incus@7.5.1"' in text
        assert 'clusterproof.version: "7.5.1-1~exp2"' in text

    def test_is_not_done_twice_unless_forced(self, tools, tmp_path):
        first = making.make(BUILD, tmp_path, ignore)
        stand_in(tools, "mksquashfs", 'echo anew >"$2"')
        assert making.make(BUILD, tmp_path, ignore) == first
        assert first.rootfs.read_text() == "squashed\n"
        again = making.make(BUILD, tmp_path, ignore, force=True)
        assert again.rootfs.read_text() == "anew\n"
        assert not list(tmp_path.glob("*.partial"))

    def test_replaces_a_damaged_image(self, tmp_path):
        image = making.make(BUILD, tmp_path, ignore)
        image.rootfs.write_text("cut")
        assert rootfs.find(BUILD, tmp_path) is None
        assert making.make(BUILD, tmp_path, ignore).rootfs.read_text() == "squashed\n"

    def test_says_when_the_archive_has_moved_on(self, tools, tmp_path):
        stand_in(tools, "dpkg-query", r"printf 'incus-base\t7.6.0-1\tamd64\n'")
        said: list[str] = []
        assert making.make(BUILD, tmp_path, said.append).package_version == "7.6.0-1"
        assert "experimental now holds 7.6.0-1, which is newer" in said[-1]

    def test_removes_what_a_killed_attempt_left(self, tmp_path):
        for name in (recipe.digest(BUILD), "of-another", "of-another.old"):
            (tmp_path / f"{name}.partial" / "root" / "deep").mkdir(parents=True)
        making.make(BUILD, tmp_path, ignore)
        assert not list(tmp_path.glob("*.partial"))

    def test_leaves_alone_what_another_process_is_making(self, tmp_path):
        theirs = tmp_path / "of-another.partial"
        theirs.mkdir()
        with FileLock(tmp_path / "of-another.lock"):
            making.make(BUILD, tmp_path, ignore)
        assert theirs.exists()

    def test_by_two_at_once_is_done_by_one(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", f"echo once >>{tmp_path}/calls; sleep 0.5\n{INSTALLS}")
        out = tmp_path / "out"
        threads = [threading.Thread(target=making.make, args=(BUILD, out, ignore)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (tmp_path / "calls").read_text() == "once\n"

    def test_can_be_stopped_from_another_thread(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", "sleep 60")
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(LabError, match="was cancelled"):
            making.make(BUILD, tmp_path, ignore, stop=stop)
        assert not list(tmp_path.glob("*.partial"))

    def test_interrupted_by_the_user_leaves_nothing(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", f"echo $$ >{tmp_path}/pid; echo I: working; sleep 60")

        def interrupt(text: str) -> None:
            if text == "working":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            making.make(BUILD, tmp_path / "out", interrupt)
        assert not list((tmp_path / "out").glob("*.partial"))
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.usefixtures("tools")
class TestFailing:
    def test_names_the_cause_and_where_the_output_is(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", "echo 'E: Unable to locate package incus-base'; exit 25")
        with pytest.raises(LabError) as caught:
            making.make(BUILD, tmp_path, ignore)
        text = str(caught.value)
        log = tmp_path / f"{recipe.digest(BUILD)}.log"
        assert "incus@7.5.1 could not be made: mmdebstrap ended with 25" in text
        assert "E: Unable to locate package incus-base" in text
        assert str(log) in text
        assert "Unable to locate" in log.read_text()
        assert not list(tmp_path.glob("*.partial"))
        assert rootfs.find(BUILD, tmp_path) is None

    def test_on_a_full_disk(self, tools, tmp_path):
        stand_in(tools, "mksquashfs", "echo 'write failed: No space left on device'; exit 1")
        with pytest.raises(LabError, match=f"no space left on the disk of {tmp_path}, make room"):
            making.make(BUILD, tmp_path, ignore)

    def test_before_a_full_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(making, "SPACE", 1 << 62)
        with pytest.raises(LabError, match="GiB free and making the image"):
            making.make(BUILD, tmp_path, ignore)

    def test_without_a_network(self, tools, tmp_path):
        stand_in(tools, "mmdebstrap", "echo \"W: Could not resolve 'deb.example.org'\"; exit 25")
        with pytest.raises(LabError, match=r"https://deb\.example\.org/debian cannot be reached"):
            making.make(BUILD, tmp_path, ignore)

    def test_without_mmdebstrap(self, tmp_path, monkeypatch):
        monkeypatch.setattr(making, "TOOLS", {"no-such-tool": "mmdebstrap"})
        with pytest.raises(LabError, match="needs mmdebstrap; run lab/bootstrap"):
            making.make(BUILD, tmp_path, ignore)

    def test_without_root(self, tmp_path, monkeypatch):
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        with pytest.raises(LabError, match="needs root; run it with sudo"):
            making.make(BUILD, tmp_path, ignore)

    def test_where_the_folder_cannot_be(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(LabError, match="cannot make the image of incus"):
            making.make(BUILD, tmp_path / "file" / "images", ignore)

    def test_explains_with_braces_in_the_output(self):
        assert logged_commands.explain("E: {into} {").format(into="x", archive="y") == "E: {into} {"
        assert logged_commands.explain("") == "there was no output"
