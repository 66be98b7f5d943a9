"""A snap store and an image server on this computer, for trying what asks them without a network.

``python tools/store/local_store.py --info ANSWER.json --image ALIAS=FILE.squashfs`` serves until it is
interrupted, and prints what to set: ``LAB_SNAP_STORE`` and ``LAB_IMAGE_SERVER``. It speaks what the lab relies
on: the store's answer to GET /v2/snaps/info/NAME, as documented and recorded
(tests/data/snap-info-lxd.json), and the index of simplestreams, as image servers have it (streams/v1/index.json
and the files that it names). It cannot serve snaps: snapd takes only what the store has signed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PRODUCTS = "streams/v1/com.ubuntu.cloud:released:download.json"
INDEX = "streams/v1/index.json"


class LocalStore(ThreadingHTTPServer):
    """Answers on a free port of the loopback interface.

    ``info`` has by a snap's name what the store says of it, ``images`` by an alias the file of its root file
    system; an alias without a file has ``lxd.tar.xz`` only. ``statuses`` are those of the next answers, before
    all are 200; ``bodies`` by path replace what would be said. ``asked`` are the paths of all requests.
    """

    daemon_threads = True

    def __init__(
        self, info: Mapping[str, Any] | None = None, images: Mapping[str, Path | None] | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.info = dict(info or {})
        self.images = dict(images or {})
        self.statuses: list[int] = []
        self.bodies: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.architecture = "amd64"

    @property
    def address(self) -> str:
        """The address of both."""
        return f"http://127.0.0.1:{self.server_port}"

    def body(self, path: str) -> bytes | Path | None:
        """Return what is at ``path``, which begins without a slash; None where there is nothing."""
        if path in self.bodies:
            return self.bodies[path]
        if path == INDEX:
            listed = {"com.ubuntu.cloud:released:download": {"datatype": "image-downloads", "path": PRODUCTS}}
            return json.dumps({"format": "index:1.0", "index": listed}).encode()
        if path == PRODUCTS:
            products = dict(map(self._product, self.images))
            return json.dumps({"format": "products:1.0", "products": products}).encode()
        snap = path.removeprefix("v2/snaps/info/")
        if snap in self.info:
            return json.dumps(self.info[snap]).encode()
        alias = path.removeprefix("images/").removesuffix(".squashfs")
        return self.images.get(alias)

    def _product(self, alias: str) -> tuple[str, dict[str, Any]]:
        items = {"lxd.tar.xz": {"ftype": "lxd.tar.xz", "path": f"images/{alias}.lxd.tar.xz", "size": 1}}
        if file := self.images[alias]:
            path = f"images/{alias}.squashfs"
            size, digest = file.stat().st_size, _digest(file)
            items["squashfs"] = {"ftype": "squashfs", "path": path, "sha256": digest, "size": size}
        named = {"arch": self.architecture, "aliases": f"{alias},default"}
        versions = {"20261124": {"items": items}}
        return f"com.ubuntu.cloud:server:{alias}:{self.architecture}", {**named, "versions": versions}


class _Handler(BaseHTTPRequestHandler):
    server: LocalStore

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        body = self.server.body(self.path.partition("?")[0].lstrip("/"))
        if body is None and status == 200:
            status = 404
        self.send_response(status)
        self.end_headers()
        if isinstance(body, bytes):
            self.wfile.write(body)
        elif body is not None:
            with body.open("rb") as file:
                while block := file.read(1 << 20):
                    self.wfile.write(block)

    def log_message(self, *_: object) -> None:
        pass


@cache
def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    parser = argparse.ArgumentParser(prog="local_store.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--info", action="append", type=Path, default=[], help="an answer about a snap")
    parser.add_argument("--image", action="append", default=[], metavar="ALIAS=FILE", help="an image")
    given = parser.parse_args(arguments)
    try:
        answers = [json.loads(file.read_text("utf-8")) for file in given.info]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    images = {alias: Path(file) for alias, _, file in (text.partition("=") for text in given.image)}
    with LocalStore({answer["name"]: answer for answer in answers}, images) as server:
        sys.stdout.write(f"LAB_SNAP_STORE={server.address}\nLAB_IMAGE_SERVER={server.address}\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
