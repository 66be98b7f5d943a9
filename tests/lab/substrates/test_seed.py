"""The seed of a virtual machine: YAML that means what was given, whatever that is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.substrates import qemu, seed
from clusterproof.lab.substrates.ssh import make_key
from clusterproof.lab.substrates.ssh_access import Interface
from tests.fakes import stand_in

KEYS = make_key()
VALUES = {
    "name": "m1",
    "interfaces": [
        Interface(qemu.cluster_mac(1), "10.99.0.1/24"),
        Interface(qemu.outer_mac(1), "10.0.2.15/24", "10.0.2.2"),
    ],
    "resolver": "10.0.2.3",
    "authorized": KEYS.public,
    "host_key": KEYS.private,
    "host_public": KEYS.public,
}

# JSON writes what lies beyond as two halves, which YAML does not put together.
texts = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cc", "Cs")))


@given(texts)
def test_a_name_is_a_name_whatever_it_holds(name):
    found = yaml.safe_load(seed.render("meta-data", **{**VALUES, "name": name}))
    assert found == {"instance-id": name, "local-hostname": name}


@pytest.mark.parametrize("name", ['m"1', "m'1", "yes", "1e3", "a: b", "{}", "#m", "<m&1>", "{{ name }}"])
def test_a_name_that_is_something_else_in_yaml(name):
    assert yaml.safe_load(seed.render("meta-data", name=name))["local-hostname"] == name


def test_the_keys_arrive_line_by_line():
    found = yaml.safe_load(seed.render("user-data", **VALUES))
    assert found["ssh_authorized_keys"] == [KEYS.public]
    assert found["ssh_keys"] == {"ed25519_private": KEYS.private, "ed25519_public": KEYS.public}


def test_user_data_begin_with_what_cloud_init_knows_them_by():
    assert seed.render("user-data", **VALUES).startswith("#cloud-config\n")


def test_the_two_networks():
    found = yaml.safe_load(seed.render("network-config", **VALUES))
    cluster, outer = found["ethernets"]["eth0"], found["ethernets"]["eth1"]
    assert cluster["match"] == {"macaddress": qemu.cluster_mac(1)}
    assert cluster["addresses"] == ["10.99.0.1/24"]
    assert "routes" not in cluster
    assert outer["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.2.2"}]


def test_one_network_that_leads_out():
    only = Interface("52:54:0a:b0:00:07", "10.176.0.7/20", "10.176.0.1")
    found = yaml.safe_load(seed.render("network-config", **{**VALUES, "interfaces": [only]}))
    assert found["ethernets"] == {
        "eth0": {
            "match": {"macaddress": "52:54:0a:b0:00:07"},
            "set-name": "eth0",
            "addresses": ["10.176.0.7/20"],
            "routes": [{"to": "0.0.0.0/0", "via": "10.176.0.1"}],
        }
    }


def test_who_is_asked_for_names():
    (file,) = yaml.safe_load(seed.render("user-data", **VALUES))["write_files"]
    assert file == {"path": "/etc/resolv.conf", "content": "nameserver 10.0.2.3\n"}


@pytest.mark.parametrize("missing", ["authorized", "host_key"])
def test_a_value_that_is_missing_is_no_empty_one(missing):
    with pytest.raises(TypeError, match="StrictUndefined"):
        seed.render("user-data", **{name: value for name, value in VALUES.items() if name != missing})


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="cloud-init is not installed")
def test_cloud_init_itself_takes_it(tmp_path):
    file = tmp_path / "user-data"
    file.write_text(seed.render("user-data", **VALUES))
    subprocess.run(["cloud-init", "schema", "--config-file", file], check=True, timeout=60)


class TestSeed:
    @pytest.fixture
    def keys(self, tmp_path):
        folder = tmp_path / "keys"
        folder.mkdir()
        (folder / "client.pub").write_text(f"{KEYS.public}\n")
        (folder / "host").write_text(KEYS.private)
        (folder / "host.pub").write_text(KEYS.public)
        return folder

    @pytest.fixture
    def given(self):
        return {name: value for name, value in VALUES.items() if "host" not in name and name != "authorized"}

    def test_has_the_three_files_under_the_label_that_is_looked_for(self, tmp_path, keys, given, monkeypatch):
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        copies = f'echo "$*" >{tmp_path}/said; for last; do :; done; cp -r "$last" {tmp_path}/in'
        stand_in(tmp_path / "bin", "xorriso", copies)
        seed.make_disk(tmp_path / "seed.iso", seed.seed(keys, **given))
        assert re.search(rf"-V cidata .*-o {tmp_path}/seed.iso ", (tmp_path / "said").read_text())
        assert sorted(path.name for path in (tmp_path / "in").iterdir()) == sorted(seed.FILES)
        found = yaml.safe_load((tmp_path / "in" / "user-data").read_text())
        assert found["ssh_authorized_keys"] == [KEYS.public]

    def test_of_somebody_elses_user_data_has_the_machines_own_beside_it(self, keys, given):
        theirs = "#cloud-config\nruncmd: [[true]]\n"
        files = seed.seed(keys, user_data=theirs, **given)
        assert sorted(files) == sorted((*seed.FILES, "vendor-data"))
        assert files["user-data"] == theirs
        assert files["vendor-data"].startswith("#cloud-config\n")
        own = yaml.safe_load(files["vendor-data"])
        assert own["ssh_authorized_keys"] == [KEYS.public]
        # A member's cloud-init installs no packages.
        assert own["cloud_final_modules"] == ["package_update_upgrade_install", "scripts_user"]

    @pytest.mark.skipif(shutil.which("xorriso") is None, reason="xorriso is not installed")
    def test_is_a_disk_that_can_be_read(self, tmp_path, keys, given):
        disk = tmp_path / "a seed.iso"
        seed.make_disk(disk, seed.seed(keys, **given))
        content = disk.read_bytes()
        assert b"#cloud-config" in content
        assert b"cidata" in content

    def test_that_cannot_be_made_says_why(self, tmp_path, keys, given, monkeypatch):
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        stand_in(tmp_path, "xorriso", "echo 'libburn: no space left' >&2; exit 5")
        with pytest.raises(LabError, match=r"cannot make the seed .*seed\.iso: libburn: no space left"):
            seed.make_disk(tmp_path / "seed.iso", seed.seed(keys, **given))
