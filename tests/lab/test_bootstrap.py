"""lab/bootstrap on machines made of stand-ins: what it would install, where, and why not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "lab" / "bootstrap"
TOOLS = ("sh", "env", "sed", "grep", "head", "tr", "tee", "cat", "touch", "dirname")
LAB = [
    *("mmdebstrap", "debian-archive-keyring", "squashfs-tools", "xz-utils", "btrfs-progs"),
    *("dnsmasq-base", "nftables", "iproute2", "uidmap", "attr", "rsync", "ca-certificates", "git"),
]
SERVER = ["incus-base", "incus-client"]
QEMU = ["qemu-system-x86", "qemu-utils"]
MACHINES = [
    *("xorriso", "e2fsprogs", "fdisk", "mtools", "systemd-boot-efi", "openssh-client"),
    *("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-mds", "ceph-common"),
]
BOOKWORM = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
TRIXIE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
NOBLE = 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nVERSION_ID="24.04"\n'


@dataclass
class Machine:
    """A folder that looks like a machine's root, and stand-ins for its package tools."""

    root: Path
    release: str = TRIXIE
    installed: list[str] = field(default_factory=list)
    offered: list[str] = field(default_factory=lambda: [*LAB, *SERVER, "tox"])
    versions: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=lambda: ["bookworm|bookworm"])
    brings: list[str] = field(default_factory=list)
    archive: str = "https://deb.example.org/debian/"
    uid: int = 0
    sudo: bool = False
    failing: str = "no-such-verb"
    lab_host: str = ""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        programs = self.root / "bin"
        programs.mkdir(exist_ok=True)
        for name in TOOLS:
            found = shutil.which(name)
            assert found
            if not (programs / name).exists():
                (programs / name).symlink_to(found)
        (self.root / "etc/apt/sources.list.d").mkdir(parents=True, exist_ok=True)
        (self.root / "etc/os-release").write_text(self.release)
        state = self.root / "state"
        if not state.exists():
            state.mkdir()
            for name in self.installed:
                (state / name).write_text(self.versions.get(name, "1"))
        self.program("id", f"echo {self.uid}")
        self.program(
            "dpkg-query",
            f'for p; do :; done; [ ! -e {state}/"$p" ] || '
            f'case "$*" in *Version*) cat {state}/"$p" ;; *) printf installed ;; esac',
        )
        self.program(
            "apt-cache",
            f'case " {" ".join(self.offered)} " in *" $2 "*) echo "  Candidate: 1" ;; '
            f'*) [ -s {self.added} ] && [ "$2" = incus-base -o "$2" = incus-client ] '
            f'&& echo "  Candidate: 1" || echo "  Candidate: (none)" ;; esac',
        )
        self.program(
            "apt-get",
            f'echo "$*" >>{self.root}/calls\n'
            f'case "$*" in\n'
            f"indextargets*REPO_URI*) echo 'bookworm|main|{self.archive}' ;;\n"
            f"indextargets*) printf '%s|main\\n' {' '.join(repr(source) for source in self.sources)} ;;\n"
            f"*'{self.failing}'*) echo 'E: broken' >&2; exit 100 ;;\n"
            f'*" install "*) cd {state}; for p in "$@" {" ".join(self.brings)}; do '
            f'case $p in -*) ;; *) echo "1:10.0.2+ds-2" >"$p" ;; esac; done ;;\n'
            f"esac",
        )
        self.program("systemctl", f'echo "systemctl $*" >>{self.root}/calls')
        if self.sudo:
            self.program("sudo", f'echo sudo >>{self.root}/calls; exec "$@"')
        return subprocess.run(
            [programs / "sh", SCRIPT, *arguments],
            env={"PATH": str(programs), "BOOTSTRAP_ROOT": str(self.root), "LAB_HOST": self.lab_host},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def program(self, name: str, body: str) -> None:
        file = self.root / "bin" / name
        file.write_text(f"#!{self.root}/bin/sh\n{body}\n")
        file.chmod(0o755)

    def socket(self, path: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True)
        here = Path.cwd()
        os.chdir(file.parent)  # a socket's path may have 107 bytes at most
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(file.name)
        finally:
            os.chdir(here)

    @property
    def added(self) -> Path:
        return self.root / "etc/apt/sources.list.d/clusterproof.sources"

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def changes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("indextargets")]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_a_dry_run_says_what_it_would_install_and_changes_nothing(machine):
    done = machine.run("--dry-run")
    assert done.returncode == 0
    for package in [*LAB, *SERVER, "tox"]:
        assert f" {package}" in done.stdout
    assert "dry run: nothing was changed" in done.stdout
    assert machine.changes == []


def test_installs_and_the_second_run_has_nothing_to_do(machine):
    first = machine.run()
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("installing: mmdebstrap ")
    assert first.stdout.index("installing:") < first.stdout.index("done:")
    assert any("--no-install-recommends" in call for call in machine.changes)
    before = machine.changes
    second = machine.run()
    assert "nothing to do" in second.stdout
    assert machine.changes == before


def test_installs_only_what_is_missing(machine):
    machine.installed = [*LAB[1:], *SERVER, "tox"]
    done = machine.run("--dry-run")
    assert "installing: mmdebstrap\n" in done.stdout


@pytest.mark.parametrize(
    "path",
    [
        "var/lib/incus/unix.socket",
        "run/incus/unix.socket",
        "var/lib/lxd/unix.socket",
        "var/snap/lxd/common/lxd/unix.socket",
    ],
)
def test_a_server_that_is_there_is_left_alone(machine, path):
    machine.socket(path)
    done = machine.run()
    assert f"lab host: /{path} is installed and left as it is" in done.stdout
    assert "incus-base" not in "\n".join(machine.changes)
    assert "mmdebstrap" in "\n".join(machine.changes)


@pytest.mark.parametrize("package", ["incus-base", "incus", "lxd"])
def test_an_installed_server_that_is_not_running_is_left_alone(machine, package):
    machine.installed = [package]
    done = machine.run("--dry-run")
    assert f"lab host: package {package} is installed and left as it is" in done.stdout
    assert "incus-client" not in done.stdout


def test_a_named_lab_host_needs_no_server_here(machine):
    machine.lab_host = "https://lab.example.org:8443"
    done = machine.run("--dry-run")
    assert "lab host: LAB_HOST=https://lab.example.org:8443" in done.stdout
    assert "incus-base" not in done.stdout


def test_a_tox_from_elsewhere_will_do(machine):
    (machine.root / "bin").mkdir()
    machine.program("tox", "echo 4.30.0")
    assert " tox" not in machine.run("--dry-run").stdout


class TestOnDebian12:
    @pytest.fixture
    def machine(self, tmp_path) -> Machine:
        return Machine(tmp_path, release=BOOKWORM, offered=[*LAB, "tox"])

    def test_backports_are_added_from_the_machines_own_archive(self, machine):
        done = machine.run()
        assert done.returncode == 0, done.stderr
        assert "adding " in done.stdout
        assert machine.added.read_text() == (
            "Types: deb\nURIs: https://deb.example.org/debian/\nSuites: bookworm-backports\n"
            "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        )
        updates = [call for call in machine.changes if call.endswith(" update")]
        assert len(updates) == 2

    def test_a_dry_run_says_so_and_adds_nothing(self, machine):
        done = machine.run("--dry-run")
        assert "clusterproof.sources (bookworm-backports)" in done.stdout
        assert not machine.added.exists()

    def test_nothing_is_added_where_a_source_offers_incus(self, machine):
        machine.offered += SERVER
        done = machine.run()
        assert done.returncode == 0
        assert not machine.added.exists()

    def test_nothing_is_added_where_no_server_is_to_be_installed(self, machine):
        machine.socket("var/lib/lxd/unix.socket")
        assert machine.run().returncode == 0
        assert not machine.added.exists()

    def test_without_a_debian_entry_it_says_what_to_add(self, machine):
        machine.archive = ""
        done = machine.run()
        assert done.returncode == 1
        assert "add bookworm-backports to" in done.stderr


class TestRefusing:
    @pytest.mark.parametrize(
        ("release", "named"),
        [
            ('ID=fedora\nVERSION_ID="41"\n', '"fedora 41"'),
            ('ID=debian\nVERSION_ID="11"\n', '"debian 11"'),
            ('ID=ubuntu\nVERSION_ID="22.04"\n', '"ubuntu 22.04"'),
            ("", '"this system"'),
            ("ID=$(touch no)\nVERSION_ID=`x`\n", '"$(touch no) `x`"'),
        ],
    )
    def test_a_distribution_it_does_not_know(self, machine, release, named):
        machine.release = release
        done = machine.run()
        assert done.returncode == 1
        assert f"{named} is none of Debian 12 or 13" in done.stderr
        assert "install their counterparts yourself: mmdebstrap" in done.stderr
        assert machine.calls == []

    @pytest.mark.parametrize("release", [BOOKWORM, TRIXIE, NOBLE, "ID=debian\n"])
    def test_not_one_that_it_knows(self, machine, release):
        machine.release = release
        assert machine.run("--dry-run").returncode == 0

    def test_without_root_and_sudo(self, machine):
        machine.uid = 1000
        done = machine.run()
        assert done.returncode == 1
        assert "needs root, and there is no sudo; run it as root" in done.stderr
        assert machine.changes == []

    def test_not_a_user_with_sudo(self, machine):
        machine.uid, machine.sudo = 1000, True
        assert machine.run().returncode == 0
        assert "sudo" in machine.calls

    def test_not_a_user_for_whom_there_is_nothing_to_do(self, machine):
        machine.uid = 1000
        machine.installed = [*LAB, *SERVER, "tox"]
        done = machine.run()
        assert done.returncode == 0
        assert "nothing to do" in done.stdout

    @pytest.mark.parametrize("verb", ["update", "install"])
    def test_when_apt_fails(self, machine, verb):
        machine.failing = f" {verb}"
        done = machine.run()
        assert done.returncode == 1
        assert "E: broken" in done.stderr
        assert f"lab/bootstrap: apt-get {verb} failed (its output is above)" in done.stderr

    def test_when_a_package_is_nowhere_to_be_had(self, machine):
        machine.release = NOBLE
        machine.offered.remove("mmdebstrap")
        done = machine.run()
        assert done.returncode == 1
        assert "offers mmdebstrap; enable universe" in done.stderr

    def test_an_unknown_argument(self, machine):
        done = machine.run("--all")
        assert done.returncode == 2
        assert 'unknown argument "--all"' in done.stderr
        assert "usage:" in done.stderr

    def test_not_a_call_for_help(self, machine):
        done = machine.run("--help")
        assert done.returncode == 0
        assert "--dry-run" in done.stdout


class TestForVirtualMachines:
    """``--vm``: QEMU of an age that works, and Ceph, of which nothing is left running."""

    @pytest.fixture
    def machine(self, tmp_path) -> Machine:
        return Machine(tmp_path, offered=[*LAB, *SERVER, "tox", *QEMU, *MACHINES])

    @pytest.fixture
    def bookworm(self, machine) -> Machine:
        """Debian 12 on which everything but what virtual machines take is installed."""
        machine.release, machine.installed = BOOKWORM, [*LAB, *SERVER, "tox"]
        return machine

    def test_installs_what_they_take_and_the_second_run_has_nothing_to_do(self, machine):
        first = machine.run("--vm")
        assert first.returncode == 0, first.stderr
        for package in [*LAB, *SERVER, *QEMU, *MACHINES]:
            assert (machine.root / "state" / package).exists()
        before = machine.changes
        assert "nothing to do" in machine.run("--vm").stdout
        assert machine.changes == before

    def test_without_it_nothing_of_that_is_installed(self, machine):
        assert machine.run().returncode == 0
        said = "\n".join(machine.calls)
        assert "qemu" not in said
        assert "ceph" not in said

    def test_after_a_run_without_it_only_the_rest_is_installed(self, machine):
        machine.run()
        assert machine.run("--vm", "--dry-run").stdout == (
            "lab host: package incus-base is installed and left as it is\n"
            f"installing: {' '.join([*MACHINES, *QEMU])}\ndry run: nothing was changed\n"
        )

    @pytest.mark.parametrize("release", [TRIXIE, NOBLE])
    def test_takes_qemu_from_where_it_is_new_enough(self, machine, release):
        machine.release = release
        assert machine.run("--vm").returncode == 0
        assert not any("backports" in call for call in machine.calls)

    def test_takes_qemu_from_backports_on_debian_12(self, bookworm):
        done = bookworm.run("--vm")
        assert done.returncode == 0, done.stderr
        assert "Suites: bookworm-backports\n" in bookworm.added.read_text()
        installs = [call for call in bookworm.changes if " install " in call]
        assert len(installs) == 2
        assert installs[0].endswith(" ".join(MACHINES))
        assert installs[1].endswith("-t bookworm-backports qemu-system-x86 qemu-utils")

    @pytest.mark.parametrize(
        "source", ["bookworm-backports|bookworm-backports", "oldstable-backports|bookworm-backports"]
    )
    def test_adds_no_backports_where_they_are(self, bookworm, source):
        bookworm.sources.append(source)
        assert bookworm.run("--vm").returncode == 0
        assert not bookworm.added.exists()
        assert "-t bookworm-backports qemu" in "\n".join(bookworm.changes)

    @pytest.mark.parametrize("suite", ["bookworm-backports-sloppy", "bookworm-updates", "my-bookworm-backports"])
    def test_takes_no_other_suite_for_backports(self, bookworm, suite):
        bookworm.sources.append(f"{suite}|{suite}")
        assert "adding, if no source" in bookworm.run("--vm", "--dry-run").stdout

    def test_says_in_a_dry_run_that_backports_are_added_for_qemu(self, bookworm):
        done = bookworm.run("--vm", "--dry-run")
        assert "adding, if no source offers qemu-system-x86 qemu-utils after apt-get update" in done.stdout
        assert bookworm.changes == []

    @pytest.mark.parametrize(
        ("version", "missing"),
        [
            ("1:7.2+dfsg-7+deb12u18", True),
            ("1:9.2.4+ds-1", True),
            ("1:10.0.2+ds-2+deb13u1~bpo12+1", False),
            ("11.1", False),
        ],
    )
    def test_an_old_qemu_counts_as_missing(self, bookworm, version, missing):
        bookworm.installed += [*QEMU, *MACHINES]
        bookworm.versions = dict.fromkeys(QEMU, version)
        done = bookworm.run("--vm", "--dry-run")
        assert ("installing: qemu-system-x86 qemu-utils\n" in done.stdout) is missing
        assert ("nothing to do" in done.stdout) is not missing

    def test_an_old_qemu_does_no_harm_without_it(self, bookworm):
        bookworm.installed += QEMU
        bookworm.versions = dict.fromkeys(QEMU, "1:7.2+dfsg-7")
        assert "nothing to do" in bookworm.run().stdout

    def test_without_a_debian_entry_it_says_what_needs_backports(self, bookworm):
        bookworm.archive = ""
        done = bookworm.run("--vm")
        assert done.returncode == 1
        assert "no apt source offers qemu-system-x86 qemu-utils" in done.stderr

    def test_what_came_with_ceph_and_was_started_is_stopped(self, machine):
        (machine.root / "run/systemd/system").mkdir(parents=True)
        machine.brings = ["ceph-base", "smartmontools"]
        assert machine.run("--vm").returncode == 0
        stopped = [call for call in machine.changes if call.startswith("systemctl")]
        assert stopped == [
            "systemctl --quiet disable --now ceph-crash.service",
            "systemctl --quiet disable --now smartmontools.service",
        ]

    def test_what_was_there_before_ceph_is_left_running(self, machine):
        (machine.root / "run/systemd/system").mkdir(parents=True)
        machine.installed, machine.brings = ["smartmontools"], ["ceph-base"]
        assert machine.run("--vm").returncode == 0
        assert not any("smartmontools" in call for call in machine.changes)

    def test_without_systemd_there_is_nothing_to_stop(self, machine):
        machine.brings = ["ceph-base"]
        assert machine.run("--vm").returncode == 0
        assert not any(call.startswith("systemctl") for call in machine.changes)

    def test_an_unknown_distribution_is_told_of_them_too(self, machine):
        machine.release = "ID=fedora\n"
        assert "qemu-utils xorriso" in machine.run("--vm").stderr
        assert "qemu-utils" not in machine.run().stderr
