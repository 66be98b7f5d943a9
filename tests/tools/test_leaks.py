"""Searching a run's files for secrets: it finds them wherever they could be, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import zipfile
from contextlib import closing

import pytest

from clusterproof.lab.core.known_secrets import known, register
from tools.leaks.search import leaks

SECRET = "q7Rk/2m+Zt5Yw0Hs" * 3 + "Lp9"
TOKEN = base64.b64encode(json.dumps({"server_name": "m2", "secret": "ab12" * 16}).encode()).decode()


def write_database(path, text):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE cells (reason TEXT)")
        # Longer than a page, so that the file has it in pieces.
        database.execute("INSERT INTO cells VALUES (?)", ("x " * 4000 + text + " y" * 4000,))


def write_zip(path, text):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evidence/daemon.log", text)


def write_lines(path, text):
    path.write_text("\n".join(text[at : at + 9] for at in range(0, len(text), 9)))


WRITERS = {
    "plain": lambda path, text: path.write_text(f"key: {text}\n"),
    "a part": lambda path, text: path.write_text(f"key: {text[9:29]}\n"),
    "in json": lambda path, text: path.write_text(json.dumps({"a": json.dumps({"b": text})})),
    "escaped": lambda path, text: path.write_text(text.replace("/", "\\/").replace("+", "\\u002b")),
    "in an address": lambda path, text: path.write_text(text.replace("/", "%2F").replace("+", "%2B")),
    "in lines": write_lines,
    "in base64": lambda path, text: path.write_text(base64.b64encode(f"a={text}".encode()).decode()),
    "among bytes": lambda path, text: path.write_bytes(b"\xff\x00\xfe" + text.encode() + b"\xff"),
    "in gzip": lambda path, text: path.write_bytes(gzip.compress(text.encode())),
    "in zip": write_zip,
    "in a database": write_database,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_secret_is_found_wherever_it_is(tmp_path, writer):
    register(SECRET)
    (tmp_path / "evidence").mkdir()
    WRITERS[writer](tmp_path / "evidence" / "file", SECRET)
    found = leaks(tmp_path, known())
    assert found
    assert all(line.startswith("evidence/file") and SECRET[:6] not in line for line in found)


def test_a_join_token_is_found_by_its_form(tmp_path):
    (tmp_path / "a.log").write_text(f"incus cluster join {TOKEN}")
    # What has the form of a token without being a secret of one.
    (tmp_path / "b.log").write_text(base64.b64encode(b'{"server_name": "m2", "secret": ""}').decode())
    (tmp_path / "c.log").write_text("eyJ no token, and eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ")
    assert leaks(tmp_path, ()) == [f"a.log: a join token that ends with {TOKEN[-4:].rstrip('=')}"]


def test_other_text_is_no_secret(tmp_path):
    register(SECRET)
    (tmp_path / "a.log").write_text(f"{'0123456789abcdef' * 9} [redacted] {SECRET[:15]} {SECRET[-15:]}")
    (tmp_path / "link").symlink_to("/proc/version")
    assert leaks(tmp_path, known()) == []
