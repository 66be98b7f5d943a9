"""Builds of one's own: what they are made from, what they are called, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import Bound, Expectation, Range
from clusterproof.lab.baking import bake, install_by_cloud_init, reported_version, sideload
from clusterproof.lab.builds import catalogue, snap_store
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.sources import Sideload, SideloadedDaemon, SnapFile
from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import filling, making, rootfs
from clusterproof.lab.images.kinds import VM
from tests.fakes import (
    FakeCheckout,
    FakeServer,
    bake_beforehand,
    bake_with_stand_ins,
    disks_with_stand_ins,
    image,
    lab_host,
    stand_in,
)

pytest_plugins = ["pytester"]

KNOWN = catalogue.load()
ELF = b"\x7fELF the daemon"
DIGEST = hashlib.sha256(ELF).hexdigest()


@pytest.fixture
def daemon(tmp_path) -> Path:
    path = tmp_path / "incusd"
    path.write_bytes(ELF)
    return path


@pytest.fixture
def packages(tmp_path) -> Path:
    folder = tmp_path / "debs, and more"
    folder.mkdir()
    (folder / "b.deb").write_text("incus-base")
    (folder / "a.deb").write_text("incus-client")
    (folder / "b.changes").write_text("no package")
    return folder


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """A PATH that begins with stand-ins for what fills a root file system."""
    folder = bake_with_stand_ins(tmp_path, monkeypatch)
    calls = tmp_path / "calls"
    stand_in(folder, "dpkg-deb", 'case $2 in *.deb) cat "$2" ;; esac')
    stand_in(folder, "dpkg-query", r"printf 'incus-base\t7.0.9-1\tamd64\n'")
    stand_in(folder, "mksquashfs", 'cp "$1/usr/libexec/incus/incusd" "$2" 2>/dev/null || echo installed >"$2"')
    stand_in(folder, "unsquashfs", 'mkdir -p "$4/usr/libexec/incus"; echo old >"$4/usr/libexec/incus/incusd"')
    install = 'for last; do case $last in */root) mkdir "$last" ;; esac; done'
    stand_in(folder, "ldconfig", "exit 0")
    stand_in(folder, "mmdebstrap", f'printf "%s\\n" "$@" >>{calls}; {install}')
    return folder


@dataclass
class Asking:
    """What containers of the lab host answer to ``--version``, and which program was asked in which image."""

    server: FakeServer
    host: Host
    answer: tuple[int, str, str] = (0, "7.0.2\n", "")
    laid_over: tuple[int, str, str] = (0, "", "")
    ldd: str = ""
    asked: list[tuple[bytes, str]] = field(default_factory=list)
    modes: dict[str, int] = field(default_factory=dict)

    def run(self, name: str, argv: list[str]) -> tuple[int, str, str]:
        if "ldd" in argv:
            return 0, self.ldd, ""
        if "--version" not in argv:
            return self.laid_over if reported_version._LAY_OVER in argv else (0, "", "")
        daemon = self.given(name)[argv[argv.index("--version") - 1].lstrip("/")]
        program = daemon if isinstance(daemon, bytes) else daemon.encode()
        fingerprint = self.server.instances["clusterproof"][name]["source"]["fingerprint"]
        self.asked.append((program, fingerprint))
        return self.answer

    def given(self, name: str) -> dict[str, bytes | str]:
        """What container ``name`` was given to lay over its base, by place: content, or a link's target."""
        content = io.BytesIO(self.server.files[name, reported_version._ARCHIVE])
        with tarfile.open(fileobj=content) as archive:
            files = [(one, archive.extractfile(one) if one.isreg() else None) for one in archive]
            self.modes = {one.name: one.mode for one, _ in files}
            return {one.name: file.read() if file else one.linkname for one, file in files}


@pytest.fixture
def containers(tmp_path, monkeypatch) -> Iterator[Asking]:
    """A lab host whose containers answer."""
    with FakeServer() as server:
        asking = Asking(server, lab_host(server, tmp_path, monkeypatch))
        server.run = asking.run
        yield asking


def add(text: str, into: Path, server: FakeServer | None = None) -> CatalogueBuild:
    lab = str(server.socket) if server else None
    known, (found,) = sideload.add([text], KNOWN, into, lambda _: None, lab_host=lab)
    assert known.get(found.name) == found
    assert isinstance(found.source, Sideload)
    return found


class TestDaemon:
    @pytest.fixture(autouse=True)
    def server(self, tools, containers) -> FakeServer:  # noqa: ARG002
        return containers.server

    def test_is_asked_in_a_container_of_its_base_and_never_here(self, containers, tools, tmp_path, daemon):
        # Nothing of it is run by a command that fills the root file system.
        stand_in(tools, "chroot", f"touch {tmp_path}/ran; exit 9")
        found = add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server)
        base = rootfs.find(KNOWN.get("incus@6.0.4"), tmp_path / "out")
        assert base
        content = base.metadata.read_bytes() + base.rootfs.read_bytes()
        assert containers.asked == [(ELF, hashlib.sha256(content).hexdigest())]
        assert not (tmp_path / "ran").exists()
        log = (tmp_path / "out" / f"{rootfs.find(found, tmp_path / 'out').folder.name}.log").read_text()
        assert "--version" not in log

    def test_leaves_nothing_on_the_lab_host_that_was_asked(self, containers, tmp_path, daemon):
        for answer in ((0, "7.0.2", ""), (1, "", "no")):
            containers.answer = answer
            daemon.write_bytes(ELF + answer[1].encode())
            with contextlib.suppress(LabError):
                add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server)
            assert containers.server.instances["clusterproof"] == {}
            assert containers.server.volumes["clusterproof"] == {}
        assert len(containers.asked) == 2
        assert [run.id for run in runs.Run.known()] == ["r1"]

    def test_is_asked_again_where_its_image_is_gone(self, containers, monkeypatch, daemon):
        build = sideload.read(f"incus@6.0.4={daemon}", KNOWN)
        monkeypatch.setattr(bake, "_ask", lambda *_: {"extensions": ["etag"], "schema": 77})
        found = bake.bake(build, containers.host, lambda *_: None)
        assert found.build.version == f"7.0.2+sideload.{DIGEST[:12]}"
        assert [program for program, _ in containers.asked] == [ELF]

    def test_is_refused_where_there_is_no_lab_host_to_ask_it(self, tmp_path, daemon):
        build = sideload.read(f"incus@6.0.4={daemon}", KNOWN)
        with pytest.raises(LabError, match="has a daemon of yours, which the lab host runs for its version"):
            making.make(build, tmp_path / "out", lambda _: None)

    def test_takes_the_place_of_the_one_in_its_base(self, server, tmp_path, daemon):
        found = add(f"incus@6.0.4={daemon}", tmp_path / "out", server)
        made = rootfs.find(found, tmp_path / "out")
        assert made
        assert made.rootfs.read_bytes() == ELF

    def test_is_called_after_what_it_reports_and_its_digest(self, server, tmp_path, daemon):
        found = add(f"incus@6.0.4={daemon}", tmp_path / "out", server)
        assert found.name == f"incus@7.0.2+sideload.{DIGEST[:12]}"
        assert found.track == "7.0"
        assert found.installed(found.version).source == "sideloaded daemon in incus@6.0.4"

    def test_is_found_again_and_neither_made_nor_asked_twice(self, containers, tmp_path, daemon):
        first = add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server)
        assert add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server) == first
        assert len(containers.asked) == 1

    def test_another_content_is_another_build(self, server, tmp_path, daemon):
        first = add(f"incus@6.0.4={daemon}", tmp_path / "out", server)
        daemon.write_bytes(ELF + b" of today")
        assert add(f"incus@6.0.4={daemon}", tmp_path / "out", server).version != first.version

    def test_that_does_not_run_over_its_base_is_refused_with_its_words(self, containers, tmp_path, daemon):
        containers.answer = (127, "", "incusd: error while loading libcowsql.so.0\n")
        with pytest.raises(LabError, match=r"--version ended with 127: incusd: error while loading libcowsql"):
            add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server)

    def test_that_does_not_answer_is_refused(self, containers, tmp_path, monkeypatch, daemon):
        monkeypatch.setattr(reported_version, "ANSWER", 0)
        containers.answer = (124, "", "")
        with pytest.raises(LabError, match=r"does not report its version: .* was still running after 0 s"):
            add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server)
        assert containers.server.instances["clusterproof"] == {}

    @pytest.mark.parametrize("says", ["Usage: true", "", "version\n7.0"])
    def test_that_reports_no_version_is_refused(self, containers, tmp_path, daemon, says):
        containers.answer = (0, says, "")
        with pytest.raises(LabError, match="is it the product's daemon"):
            add(f"incus@6.0.4={daemon}", tmp_path / "out", containers.server)
        assert not list((tmp_path / "out").glob("*.partial"))

    def test_takes_its_place_on_the_disk_of_a_vm_too(self, containers, tools, daemon):
        disks_with_stand_ins(tools)
        base = """
        for last; do case $last in */root) root=$last ;; esac; done
        mkdir -p "$root/boot" "$root/lib/modules/6.12.9" "$root/lib/modules/6.12.10" "$root/usr/libexec/incus"
        for name in boot/vmlinuz boot/initrd usr/libexec/incus/incusd; do echo "$name" >"$root/$name"; done
        """
        stand_in(tools, "mmdebstrap", base)
        build = sideload.read(f"incus@6.0.4={daemon}", KNOWN)
        in_container = dataclasses.replace(image(build), build=build.installed(build.identity("7.0.2")))
        found = bake.bake_vm(build, in_container, containers.host, lambda *_: None)
        # What the same program has reported in a container counts.
        assert containers.asked == []
        made = rootfs.find(build, bake.folder(), kind=VM)
        assert made
        assert found.digest == made.digest
        assert made.package_version == f"7.0.2+sideload.{DIGEST[:12]}"
        # It boots as its base does.
        assert (made.kernel.read_text(), made.initrd.read_text()) == ("boot/vmlinuz\n", "boot/initrd\n")
        with tarfile.open(made.rootfs) as disk:
            taken = disk.extractfile("./usr/libexec/incus/incusd")
            assert taken
            assert taken.read() == ELF
            assert [name for name in disk.getnames() if name.startswith("./boot/")] == []

    def test_does_not_replace_that_of_two_builds_at_once(self, server, tmp_path, daemon):
        both = [f"incus@6.0.4={daemon}", f"incus@7.0.2={daemon}"]
        with pytest.raises(UsageError, match="is there twice: sideloaded daemon in incus@6"):
            sideload.add(both, KNOWN, tmp_path / "out", lambda _: None, lab_host=str(server.socket))


class TestTree:
    @pytest.fixture(autouse=True)
    def server(self, tools, containers) -> FakeServer:  # noqa: ARG002
        return containers.server

    @pytest.fixture
    def tree(self, tmp_path) -> Path:
        """A folder with a daemon, a client and a library, which has a link."""
        files = {
            "usr/libexec/incus/incusd": ELF,
            "usr/bin/incus": b"the client",
            "usr/lib/libcowsql.so.0.0.1": b"a library",
        }
        for name, content in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
        (tmp_path / "tree/usr/lib/libcowsql.so.0").symlink_to("libcowsql.so.0.0.1")
        return tmp_path / "tree"

    @pytest.fixture
    def packed(self, tools, tmp_path) -> Path:
        """A copy of the root file system that was packed last."""
        packed = tmp_path / "packed"
        stand_in(tools, "mksquashfs", f'rm -rf {packed} && cp -a "$1" {packed} && echo packed >"$2"')
        return packed

    def test_is_laid_over_its_base_with_all_that_is_in_it(self, server, tmp_path, tree, packed):
        found = add(f"incus@6.0.4={tree}", tmp_path / "out", server)
        assert (packed / "usr/libexec/incus/incusd").read_bytes() == ELF
        assert (packed / "usr/libexec/incus/incusd").stat().st_mode & 0o777 == 0o755
        assert (packed / "usr/bin/incus").read_bytes() == b"the client"
        assert (packed / "usr/lib/libcowsql.so.0").readlink() == Path("libcowsql.so.0.0.1")
        assert found.installed(found.version).source == "sideloaded tree in incus@6.0.4"
        assert (found.version.partition("+")[0], found.track) == ("7.0.2", "7.0")

    def test_its_digest_is_that_of_the_sums_of_its_files(self, server, tmp_path, tree):
        found = add(f"incus@6.0.4={tree}", tmp_path / "out", server)
        said = subprocess.run(
            "(find . -type f -exec sha256sum {} +; echo 'libcowsql.so.0.0.1  ./usr/lib/libcowsql.so.0') | sort",
            shell=True, cwd=tree, capture_output=True, text=True, check=True,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        ).stdout  # fmt: skip
        assert isinstance(found.source, Sideload)
        assert found.source.digest == hashlib.sha256(said.rstrip("\n").encode()).hexdigest()

    @pytest.mark.parametrize("name", ["usr/bin/incus", "usr/libexec/incus/incusd"])
    def test_a_change_of_any_file_is_another_build(self, tree, name):
        first = sideload.read(f"incus@6.0.4={tree}", KNOWN)
        (tree / name).write_bytes(ELF + b" of today")
        assert sideload.read(f"incus@6.0.4={tree}", KNOWN).version != first.version

    def test_never_leaves_the_image(self, server, tools, tmp_path, tree):
        outside = tmp_path / "outside"
        outside.mkdir()
        stand_in(tools, "unsquashfs", f'mkdir -p "$4/usr/libexec/incus"; ln -s {outside} "$4/usr/bin"')
        with pytest.raises(LabError, match="usr/bin/incus is behind a link that leads out of the image"):
            add(f"incus@6.0.4={tree}", tmp_path / "out", server)
        assert not list(outside.iterdir())

    def test_does_not_follow_a_link_that_stands_for_the_daemon(self, server, tools, tmp_path, tree):
        outside = tmp_path / "outside"
        outside.write_bytes(ELF)
        outside.chmod(0o600)
        (tree / "usr/libexec/incus/incusd").unlink()
        (tree / "usr/libexec/incus/incusd").symlink_to(outside)
        stand_in(tools, "mksquashfs", 'echo packed >"$2"')
        add(f"incus@6.0.4={tree}", tmp_path / "out", server)
        assert outside.stat().st_mode & 0o777 == 0o600

    def test_does_not_replace_a_folder(self, server, tools, tmp_path, tree):
        stand_in(tools, "unsquashfs", 'mkdir -p "$4/usr/bin/incus"')
        with pytest.raises(LabError, match="usr/bin/incus is a file, and a folder in sideloaded tree"):
            add(f"incus@6.0.4={tree}", tmp_path / "out", server)

    def test_is_asked_with_all_of_it_laid_over_its_base(self, containers, tools, tmp_path, tree):
        # Nothing of it is run by a command that fills the root file system.
        stand_in(tools, "chroot", f"touch {tmp_path}/ran; exit 9")
        given: list[dict[str, bytes | str]] = []

        def run(name: str, argv: list[str]) -> tuple[int, str, str]:
            if reported_version._LAY_OVER in argv:
                given.append(containers.given(name))
            return containers.run(name, argv)

        containers.server.run = run
        (tree / "usr/libexec/incus/incusd").chmod(0o600)
        add(f"incus@6.0.4={tree}", tmp_path / "out", containers.server)
        assert given == [
            {
                "usr/bin/incus": b"the client",
                "usr/lib/libcowsql.so.0": "libcowsql.so.0.0.1",
                "usr/lib/libcowsql.so.0.0.1": b"a library",
                "usr/libexec/incus/incusd": ELF,
            }
        ]
        assert containers.modes["usr/libexec/incus/incusd"] == 0o755
        assert [program for program, _ in containers.asked] == [ELF]
        assert not (tmp_path / "ran").exists()

    def test_its_libraries_are_known_to_the_loader_of_its_image(self, tools, server, tmp_path, tree):
        stand_in(tools, "ldconfig", f'echo "$1" "$(ls "$2/usr/lib")" >>{tmp_path}/ldconfig')
        add(f"incus@6.0.4={tree}", tmp_path / "out", server)
        assert (tmp_path / "ldconfig").read_text() == "-r libcowsql.so.0\nlibcowsql.so.0.0.1\n"

    def test_that_cannot_be_laid_over_its_base_is_refused(self, containers, tmp_path, tree):
        containers.laid_over = (2, "", "tar: usr/bin/incus: Cannot open: Is a directory\n")
        with pytest.raises(LabError, match=r"tree in incus@6\.0\.4: it cannot be laid .* Is a directory"):
            add(f"incus@6.0.4={tree}", tmp_path / "out", containers.server)
        assert containers.asked == []
        assert containers.server.instances["clusterproof"] == {}

    def test_that_does_not_start_says_all_that_it_lacks(self, containers, tmp_path, tree):
        containers.answer = (127, "", "incusd: error while loading shared libraries: libuv.so.1\n")
        containers.ldd = (
            "\tlibuv.so.1 => not found\n\tlibc.so.6 => /libc.so.6 (0x7f)\n\tlibraft.so.3 => not found\n"
        )
        lacks = r"libraries: libuv\.so\.1; it lacks libuv\.so\.1; it lacks libraft\.so\.3$"
        with pytest.raises(LabError, match=lacks) as caught:
            add(f"incus@6.0.4={tree}", tmp_path / "out", containers.server)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("tools")
class TestPackages:
    def test_are_installed_with_their_base(self, tmp_path, packages):
        found = add(f"incus@7.0.2={packages}", tmp_path / "out")
        assert found.version.startswith("7.0.9-1+sideload.")
        said = (tmp_path / "calls").read_text().splitlines()
        (include,) = [line for line in said if line.startswith("--include=")]
        assert include.count(".deb") == 2
        assert "incus-base" in include
        # A comma in the folder's name must not cut a name in two.
        assert "and more" not in include
        assert f"--hook-dir={filling.FILES_INSIDE}" in said

    def test_their_digest_is_that_of_their_contents(self, tmp_path, packages):
        first = add(f"incus@7.0.2={packages}", tmp_path / "out")
        (packages / "a.deb").rename(packages / "z.deb")
        assert add(f"incus@7.0.2={packages}", tmp_path / "out") == first
        assert isinstance(first.source, Sideload)
        sums = sorted(hashlib.sha256(name.encode()).hexdigest() for name in ("incus-base", "incus-client"))
        assert hashlib.sha256("\n".join(sums).encode()).hexdigest() == first.source.digest

    def test_of_another_product_are_refused(self, tmp_path, packages):
        with pytest.raises(UsageError, match="are incus-client, incus-base, and none of lxd, lxd-client"):
            add(f"lxd@5.0.2={packages}", tmp_path / "out")

    def test_that_are_none_are_refused(self, tools, tmp_path, packages):
        stand_in(tools, "dpkg-deb", "echo 'dpkg-deb: error: not a Debian format archive' >&2; exit 2")
        with pytest.raises(UsageError, match=r"a\.deb is not a package: dpkg-deb: error: not a Debian"):
            add(f"incus@7.0.2={packages}", tmp_path / "out")


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="squashfs-tools are not installed")
class TestSnap:
    def snap(self, folder: Path, text: str) -> Path:
        """Make a snap that says ``text`` of itself."""
        (folder / "tree" / "meta").mkdir(parents=True)
        (folder / "tree" / "meta" / "snap.yaml").write_text(text)
        path = folder / "own.snap"
        subprocess.run(["mksquashfs", folder / "tree", path, "-quiet"], check=True, capture_output=True)
        return path

    @pytest.mark.parametrize(
        ("version", "known_as", "track"),
        [("5.21.3-abc1234", "5.21.3", "5.21"), ("'6.4'", "6.4", "6"), ("git-570aaa1", "6", "6")],
    )
    def test_goes_by_what_it_says_until_it_is_installed(self, tmp_path, version, known_as, track):
        path = self.snap(tmp_path, f"name: lxd\nversion: {version}\n")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        known, (build,) = sideload.add([f"lxd={path}"], KNOWN, tmp_path / "out", lambda _: None)
        assert isinstance(build.source, SnapFile)
        assert build.name == f"lxd@{known_as}+sideload.{digest[:12]}"
        assert (build.track, known.get(build.name)) == (track, build)
        assert build.identity("5.21.9") == f"5.21.9+sideload.{digest[:12]}"
        assert build.facts.state_dir == "/var/snap/lxd/common/lxd"
        assert snap_store.settle([build]) == [build]

    def test_is_installed_by_cloud_init_from_its_file(self, tmp_path):
        build = sideload.read(f"lxd={self.snap(tmp_path, 'name: lxd')}", KNOWN)
        assert isinstance(build.source, SnapFile)
        text = install_by_cloud_init.user_data(build, Mirror())
        assert 'install --dangerous "/root/clusterproof-snaps/$number.snap"' in text
        assert "--revision" not in text

    @pytest.mark.parametrize(
        ("product", "text", "says"),
        [
            ("lxd", "name: microceph", 'is the snap "microceph" and not lxd'),
            ("lxd", "- a list", "has no meta/snap.yaml that can be read"),
            ("incus", "name: incus", "incus is not packaged as a snap"),
            ("lxc", "name: lxd", 'product "lxc" is not in lab/products'),
        ],
    )
    def test_that_cannot_be_installed_is_refused(self, tmp_path, product, text, says):
        with pytest.raises(UsageError, match=says):
            sideload.read(f"{product}={self.snap(tmp_path, text)}", KNOWN)

    def test_of_another_architecture_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sideload, "debian_architecture", lambda: "amd64")
        path = self.snap(tmp_path, "name: lxd\narchitectures: [arm64, riscv64]\n")
        with pytest.raises(UsageError, match=r"own\.snap is for arm64, riscv64, and this computer is amd64"):
            sideload.read(f"lxd={path}", KNOWN)

    @pytest.mark.parametrize(
        ("names", "image"),
        [
            ({"snapd.snap": "snapd", "core24_1055.snap": "core24"}, "debian-trixie"),
            ({"core24.snap": "core24"}, "ubuntu-24-04"),
            # Another snap under the base's name, and another base.
            ({"snapd.snap": "snapd", "core24.snap": "hello", "core22.snap": "core22"}, "ubuntu-24-04"),
        ],
    )
    def test_takes_from_beside_it_what_it_needs(self, tmp_path, names, image):
        path = self.snap(tmp_path, "name: lxd\nbase: core24\n")
        for file, name in names.items():
            other = tmp_path / name
            other.mkdir()
            self.snap(other, f"name: {name}\n").rename(tmp_path / file)
        build = sideload.read(f"lxd={path}", KNOWN)
        handed = build.first_boot.handed_over(lambda _: pytest.fail("nothing is made"))
        right = [tmp_path / file for file, name in names.items() if file.startswith(name) and name != "core22"]
        assert list(handed) == [*right, path]
        # With all of it no store is asked, and no other image server.
        assert build.first_boot.image == image
        assert f"for number in $(seq {len(handed)})" in install_by_cloud_init.user_data(build, Mirror())

    def test_that_is_damaged_is_refused(self, tmp_path):
        (tmp_path / "cut.snap").write_bytes(b"hsqs and no more")
        with pytest.raises(UsageError, match="is not a snap"):
            sideload.read(f"lxd={tmp_path / 'cut.snap'}", KNOWN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("incus@6.0.4", "does not say what replaces which build"),
        ("=incusd", "does not say what replaces which build"),
        ("incus@6.0.4=", "does not say what replaces which build"),
        ("incus@9.9={daemon}", "nearest: incus@7.5.1"),
        ("incus={daemon}", "not in lab/products"),
        ("incus@6.0.4={daemon}/none", "Not a directory; write it like"),
        ("incus@6.0.4=/no/such/file", "No such file or directory; write it like"),
        ("incus@6.0.4={folder}/text", "is not a program"),
        ("incus@6.0.4={folder}/empty", "has neither [*].deb nor usr/libexec/incus/incusd, the daemon of incus"),
    ],
)
def test_what_cannot_be_sideloaded_is_one_clear_line(tmp_path, daemon, text, says):
    (tmp_path / "text").write_text("a text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=says) as caught:
        sideload.read(text.format(daemon=daemon, folder=tmp_path), KNOWN)
    assert "\n" not in str(caught.value)


@given(
    st.tuples(*[st.integers(0, 40)] * 3).map(lambda numbers: ".".join(map(str, numbers))),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_expectations_are_those_of_the_reported_version(reported, digest):
    base = KNOWN.get("incus@6.0.4")
    source = SideloadedDaemon(base, Path("incusd"), digest)
    build = CatalogueBuild(base.facts, base.version, base.track, source)
    found = build.found(build.identity(reported))
    bound = Bound(version="20.0.0", proof="run")
    plain = Range(product="incus", track="feature", fixed=bound).expects(reported)
    assert Range(product="incus", track="feature", fixed=bound).expects(found.version) is plain
    assert (plain is Expectation.FIXED) == (int(reported.split(".")[0]) >= 20)


@pytest.mark.parametrize(
    ("product", "version", "track"),
    [
        ("incus", "6.0.4", "6.0"),
        ("incus", "6.10", "feature"),
        ("incus", "7.0.2-3~bpo13+1", "7.0"),
        ("lxd", "5.21.3", "5.21"),
        ("lxd", "5.2", "feature"),
        ("lxd", "6.4", "6"),
        ("lxd", "4.24", "feature"),
        ("lxd", "6+sideload.0123456789ab", "6"),
        ("lxd", "5.21.3+snap.33110", "5.21"),
    ],
)
def test_a_version_has_the_track_that_it_begins_with(product, version, track):
    assert KNOWN.product(product).track_of(version) == track


def test_the_tracks_in_the_catalogue_are_those_of_their_versions():
    assert all(build.facts.track_of(build.version) == build.track for build in KNOWN.builds)


class TestOption:
    @pytest.fixture
    def checkout(self, pytester, monkeypatch, tmp_path) -> FakeCheckout:
        monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
        checkout = FakeCheckout(pytester, monkeypatch)
        checkout.ledger()
        checkout.scenario("def test_it(case): pass\n@pytest.mark.upgrade\ndef test_up(case): pass")
        return checkout

    @pytest.fixture
    def sideloaded(self, checkout, daemon) -> str:  # noqa: ARG002
        """The option for a daemon whose image was made before: its version ends with "-1"."""
        option = f"incus@6.0.4={daemon}"
        bake_beforehand(sideload.read(option, KNOWN))
        return option

    def cells(self, result) -> list[str]:
        return [line.partition("::")[2] for line in result.outlines if "::test_" in line]

    def test_alone_is_run_alone(self, checkout, sideloaded):
        result = checkout.run("--collect-only", "-q", "--sideload", sideloaded)
        assert self.cells(result) == [f"test_it[incus@6.0.4+sideload.{DIGEST[:12]}-1]"]

    def test_stands_beside_the_builds_that_are_named(self, checkout, sideloaded):
        result = checkout.run("--collect-only", "-q", "--sideload", sideloaded, "--build", "incus@7.0.2")
        assert self.cells(result) == [
            f"test_it[incus@6.0.4+sideload.{DIGEST[:12]}-1]",
            "test_it[incus@7.0.2]",
            f"test_up[incus@6.0.4+sideload.{DIGEST[:12]}-1-to-7.0.2]",
        ]

    def test_that_was_not_made_yet_is_listed_by_its_base(self, checkout, daemon):
        sideloaded = ("--sideload", f"incus@6.0.4={daemon}")
        result = checkout.run("--collect-only", "-q", *sideloaded, "--build", "incus@6.0.4")
        assert self.cells(result) == [
            "test_it[incus@6.0.4]",
            f"test_it[incus@6.0.4+sideload.{DIGEST[:12]}]",
            f"test_up[incus@6.0.4-to-6.0.4+sideload.{DIGEST[:12]}]",
        ]

    def test_that_cannot_be_is_one_line(self, checkout):
        result = checkout.run("--collect-only", "-q", "--sideload", "incus@6.0.4=/no/such/file")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (line,) = [line for line in result.errlines if line.strip()]
        assert "No such file or directory" in line
