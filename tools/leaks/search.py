"""Searching files for secrets that the lab knows by value, and for join tokens by their form.

Redaction recognizes secrets in text that is about to be written, with patterns made for that. Here the finished
files are read instead, and decoded where a format hides what is in them, so that the two cannot share a mistake.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from clusterproof.lab.core.known_secrets import SHORTEST

_LETTERS = re.compile(rf"[A-Za-z0-9+/_-]{{{SHORTEST},}}")
_SQLITE = b"SQLite format 3\x00"
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_SHOWN = 4  # characters of a secret that a finding may show


def leaks(folder: Path, known: Collection[str]) -> list[str]:
    """Return one line for each secret in a file below ``folder``, with the file's name and the first characters.

    ``known`` are pieces of ``SHORTEST`` characters of secrets. Links are not followed.
    """
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        for where, text in _texts(str(path.relative_to(folder)), path.read_bytes()):
            found += [f"{where}: {what}" for what in _in_text(text, known)]
    return found


def _in_text(text: str, known: Collection[str]) -> Iterator[str]:
    """Yield what is secret in ``text``, once for each word that has a secret in it."""
    # As it stands, with its escapes read, and with its lines joined: that is how long secrets are printed.
    unescaped = re.sub(r"\\+(?:u002[fF]|/)|%2[fF]", "/", re.sub(r"\\+u002[bB]|%2[bB]", "+", text))
    joined = re.sub(r"(?:\s|\\+[nr])+", "", unescaped)
    seen = set()
    for form in (text, unescaped, joined):
        for word in _LETTERS.findall(form):
            hit = next((at for at in range(len(word) - SHORTEST + 1) if word[at : at + SHORTEST] in known), None)
            if hit is not None:
                seen.add(f"a secret that begins with {word[hit : hit + _SHOWN]}")
            elif _is_join_token(word):
                seen.add(f"a join token that ends with {word[-_SHOWN:]}")
    yield from sorted(seen)


def _is_join_token(word: str) -> bool:
    """Say whether ``word`` is base64 of a JSON object with a secret, as LXD and Incus make tokens."""
    begin = word.find("eyJ")
    if begin < 0:
        return False
    whole = word[begin:]
    try:
        read = json.loads(base64.b64decode(whole + "=" * (-len(whole) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(read, dict) and bool(read.get("secret"))


def _texts(where: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a file, and of the files in it where it is an archive or a database."""
    if content.startswith(_GZIP):
        yield from _texts(f"{where} unpacked", gzip.decompress(content))
    elif content.startswith(_ZIP):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from _texts(f"{where}/{name}", archive.read(name))
    else:
        # A database has its texts as they are, but for those that do not fit on a page of it.
        if content.startswith(_SQLITE):
            yield where, "\n".join(_rows(content))
        yield where, content.decode("utf-8", "replace")


def _rows(content: bytes) -> Iterator[str]:
    database = sqlite3.connect(":memory:")
    # Bytes 18 and 19 say whether there is a write-ahead log (sqlite.org/fileformat.html): not in memory.
    plain = content[:18] + b"\x01\x01" + content[20:]
    try:
        database.deserialize(plain)
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - names of its own tables
                yield " ".join(str(value) for value in row)
    finally:
        database.close()
