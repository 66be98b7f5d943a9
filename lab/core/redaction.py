"""Secrets that must never reach a file: private keys, tokens, passwords, Ceph's keys.

Those that products make are recognized by how they are printed. Those that the lab makes are
recognized by value (``known_secrets``).
"""

from __future__ import annotations

import re
import string

from clusterproof.lab.core.known_secrets import SHORTEST, without_known

MARK = "[redacted]"

# Anchored to the beginning of a word: "any word characters" here would take quadratic time in long words.
_KEY = (
    r"(?<![A-Za-z])(?:secret(?:[-_]key)?|(?:trust_|cluster_)?password|(?:trust|cluster)_token"
    r"|api\.(?:token|key)|eab\.hmac)(?![\w-])"
)
_BASE64 = "[A-Za-z0-9+/_-]"
# A line break, also where it is written as two characters, and the indentation of the next line.
_BREAK = r"(?:\r?\n|(?:\\{1,8}r)?\\{1,8}n)[ \t]*"

# Secrets as LXD and Incus print them; the group "kept" is kept.
_PATTERNS = (
    re.compile(
        r"(?P<kept>-----BEGIN [A-Z ]*PRIVATE KEY-----)(?!\[redacted\]).*?(?:(?=-----END)|\Z)", re.DOTALL
    ),
    # Join and trust tokens are base64 of a JSON object, so they begin with {" in base64; tools break it after 64
    # or 76 characters. A bearer token (JWT) has two such objects and a signature.
    re.compile(
        rf"(?P<kept>)eyJ(?:{_BASE64}{{61}}(?:{_BREAK}{_BASE64}{{64}})*|{_BASE64}{{73}}(?:{_BREAK}{_BASE64}{{76}})*)"
        rf"{_BREAK}{_BASE64}{{4,}}={{0,2}}(?![\w-])"
    ),
    re.compile(rf"(?P<kept>)eyJ{_BASE64}{{20,}}={{0,2}}(?:\.{_BASE64}{{10,}})*"),
    re.compile(
        r"(?P<kept>(?<![A-Za-z])(?:authorization\\?[\"']?\s*[:=]\s*\[?\\?[\"']?bearer\s+|"
        r"bearer\s+(?=[\w.~+/=-]{16,})(?=[a-z._~+/=-]*\d)))(?!\[redacted\])[^\s\"'\\,\]]+",
        re.IGNORECASE,
    ),
    # Ceph's keys are base64 of a type (1 or 2, 16 bits), a time and 16 or 32 bytes. They do not begin in the
    # middle of other base64, but may follow a line break that is written as two characters.
    re.compile(
        r"(?P<kept>(?<![A-Za-z0-9+/])|(?<=\\[nrt]))"
        r"A[Qg][A-D](?:\\?[A-Za-z0-9+/]){35,60}(?:={1,2}|(?:%3[Dd]){1,2}|(?:\\u003[Dd]){1,2})"
    ),
    # A truncated one.
    re.compile(r"""(?P<kept>(?<![A-Za-z])key["']?\s{0,8}[=:]\s{0,8}["']?)A[Qg][A-D][A-Za-z0-9+/]{8,}={0,2}"""),
    # With any kind of quotes: "secret": "x", \\"secret\\":\\"x\\", 'core.trust_password','x'.
    re.compile(
        rf"""(?P<kept>{_KEY}\\?["']?\s*[:=,]\s*(?P<quote>\\?["']))(?!\[redacted\])"""
        r"""(?:(?!(?P=quote))(?:\\.|.))+""",
        re.IGNORECASE,
    ),
    re.compile(
        rf"""(?P<kept>{_KEY}\\?["']?\s*[:=]\s*)(?!\[redacted\])[^\s"',;{{}}\[\]\\]{{4,}}""",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<kept>(?:core\.trust_password|\.(?:api\.(?:token|key)|eab\.hmac|auth\.password|client\.secret))\s+)"
        r"(?!\[redacted\])[^\s\"',:=]+"
    ),
)


# The characters of a private key, also where its line breaks are written as \\n.
_BODY = f"{string.ascii_letters}{string.digits}+/=\\ \t\r\n"
_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")


def redact(text: str) -> str:
    """Return ``text`` with every secret replaced by ``[redacted]``; applying it twice changes nothing."""
    # By their form first: tokens of one member begin alike, and without its beginning the rest has no form.
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<kept>{MARK}", text)
    return _without_beginning(without_known(text, MARK))


def _without_beginning(text: str) -> str:
    """Replace the rest of keys whose beginning was cut off, as in the last lines of a log."""
    parts, at = [], 0
    for end in _END.finditer(text):
        before = text[at : end.start()]
        kept = before.rstrip(_BODY)
        parts.append(before if len(before) - len(kept) < SHORTEST else f"{kept}{MARK}")
        at = end.start()
    return "".join([*parts, text[at:]])
