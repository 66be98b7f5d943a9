"""Images of a server: the newest root file system, and what a server may answer instead."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest
from tenacity import wait_none

from clusterproof.lab.baking import base_image, image_server
from clusterproof.lab.core import fetching
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host import upload
from tools.store.local_store import INDEX, PRODUCTS, LocalStore

SERVER = "https://images.example.org/minimal/releases"


@pytest.fixture
def server(tmp_path, monkeypatch):
    file = tmp_path / "noble.squashfs"
    file.write_bytes(b"a root file system")
    with LocalStore(images={"24.04": file, "22.04": None}) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("LAB_IMAGE_SERVER", running.address)
        monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
        monkeypatch.setattr(fetching, "PAUSE", wait_none())
        monkeypatch.setattr(image_server, "debian_architecture", lambda: "amd64")
        yield running
        running.shutdown()


def test_an_image_is_downloaded_once(server):
    found, file = image_server.fetch(SERVER, "24.04")
    assert file.read_bytes() == b"a root file system"
    assert (found.version, found.sha256) == ("20261124", hashlib.sha256(b"a root file system").hexdigest())
    assert image_server.fetch(SERVER, "24.04") == (found, file)
    assert server.asked.count("/images/24.04.squashfs") == 1


def test_the_newest_version_is_taken(server):
    products = json.loads(server.body(PRODUCTS))
    (product,) = (one for one in products["products"].values() if one["aliases"].startswith("24.04"))
    old = {"items": {"squashfs": {"ftype": "squashfs", "path": "old", "sha256": "0" * 64, "size": 1}}}
    product["versions"] = {"20251231": old, **product["versions"], "20260101.1": old}
    server.bodies[PRODUCTS] = json.dumps(products).encode()
    assert image_server.newest(SERVER, "24.04").version == "20261124"


def test_a_server_that_fails_for_a_moment_is_asked_again(server):
    server.statuses = [503, 502, 200, 500]
    assert image_server.fetch(SERVER, "24.04")[1].exists()


def test_a_file_that_is_not_what_its_index_says_is_not_kept(server, tmp_path):
    server.bodies["images/24.04.squashfs"] = b"another one"
    says = r"has the SHA-256 [0-9a-f]{64}, and its index says [0-9a-f]{64}; try again"
    with pytest.raises(LabError, match=says):
        image_server.fetch(SERVER, "24.04")
    assert list((tmp_path / "lab/downloads").iterdir()) == []


@pytest.mark.parametrize(
    ("alias", "bodies", "says"),
    [
        # Ubuntu's own form for LXD, of which an Incus server understands nothing.
        ("22.04", {}, r"has no image 22\.04 for amd64 with a root file system"),
        ("26.04", {}, r"has no image 26\.04"),
        ("24.04", {INDEX: b"<html>"}, r"the index of http://127\.0\.0\.1:\d+ is not of simplestreams' form"),
        ("24.04", {PRODUCTS: b'{"products": []}'}, r"not of simplestreams' form \(products: "),
    ],
)
def test_what_a_server_may_say_instead(server, alias, bodies, says):
    server.bodies = bodies
    with pytest.raises(LabError, match=says) as caught:
        image_server.fetch(SERVER, alias)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("LAB_IMAGE_SERVER", "http://127.0.0.1:9")
    monkeypatch.setattr(fetching, "PAUSE", wait_none())
    with pytest.raises(LabError, match=r"the image server http://127\.0\.0\.1:9 cannot be asked for 24\.04: "):
        image_server.newest(SERVER, "24.04")


def test_the_lab_host_is_given_it_with_a_description_of_ours(server, monkeypatch):  # noqa: ARG001
    given = []
    monkeypatch.setattr(upload, "give", lambda file, metadata, _: given.append((file, metadata)))
    base = base_image.Base(server=SERVER, alias="24.04", vm="trixie")
    base_image.fetched(base, None)
    base_image.fetched(base, None)
    # The same every time, so that the server has it once.
    assert given[0] == given[1]
    assert b"nocloud-net/user-data" in given[0][1]
    assert b"systemd-udevd.service" in given[0][1]
