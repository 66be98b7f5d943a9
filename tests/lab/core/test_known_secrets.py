"""What the lab made itself is found by value, however it was cut, broken, escaped or encoded."""

from __future__ import annotations

import base64
import json
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.cluster.certificates import make_certificate
from clusterproof.lab.core import known_secrets
from clusterproof.lab.core.known_secrets import SHORTEST, register
from clusterproof.lab.core.redaction import MARK, redact
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import LIMIT, Transcript
from clusterproof.lab.substrates.ssh import make_key
from clusterproof.lab.substrates.ssh_access import make_keys

# Neither its own form nor what stands beside it says that it is a secret.
SECRET = "q7Rk/2m+Zt5Yw0Hs" * 3 + "Lp9"
OTHER = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def known():
    """Know two secrets."""
    register(SECRET)
    register(OTHER)


def shows(text: str, secret: str = SECRET) -> bool:
    return any(secret[at : at + SHORTEST] in text for at in range(len(secret) - SHORTEST + 1))


around = st.text(max_size=40)
cuts = st.tuples(st.integers(0, len(SECRET) - SHORTEST), st.integers(SHORTEST, len(SECRET)))


@given(around, cuts, around)
def test_a_part_of_it_in_any_text(before, cut, after):
    part = SECRET[cut[0] : cut[0] + cut[1]]
    clean = redact(before + part + after)
    assert MARK in clean
    assert not shows(clean)
    assert redact(clean) == clean


@given(st.integers(1, 60), st.sampled_from(["\n", "\r\n", "\n    ", "\\n", "\\\\n", "\\r\\n"]))
def test_it_is_broken_into_lines(width, line_break):
    lines = [SECRET[at : at + width] for at in range(0, len(SECRET), width)]
    text = f"printed:\n{line_break.join(lines)}\nnext line"
    assert redact(text) == f"printed:\n{MARK}\nnext line"


@given(st.dictionaries(around, st.just(SECRET), min_size=1, max_size=3), st.integers(1, 3))
def test_it_is_in_json_and_in_json_within_json(facts, depth):
    text: object = facts
    for _ in range(depth):
        text = json.dumps(text)
    assert isinstance(text, str)
    assert MARK in redact(text)
    assert not shows(redact(text))
    assert json.loads(redact(text)) is not None


@given(st.binary(max_size=9), st.sampled_from([SECRET, OTHER]), st.sampled_from([0, 64, 76]))
def test_it_is_in_the_base64_of_json(before, secret, width):
    plain = before + json.dumps({"name": "m2", "value": secret, "at": 1}).encode()
    encoded = base64.b64encode(plain).decode()
    inner = base64.b64encode(secret.encode()).decode()
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)] if width else [encoded]
    clean = redact("\n".join(lines))
    assert MARK in clean
    assert not shows(clean.replace("\n", ""), inner)
    # What is left between the marks says nothing of the secret.
    for left in clean.replace("\n", "").split(MARK):
        for start in range(4):
            whole = left.rstrip("=")[start:]
            read = base64.b64decode(whole[: len(whole) // 4 * 4])
            assert not shows(read.decode("latin-1"), secret)


@pytest.mark.parametrize("slash", ["%2F", "%2f", "\\/", "\\\\/", "\\u002f"])
@pytest.mark.parametrize("plus", ["+", "%2B", "\\u002b"])
def test_it_is_escaped(slash, plus):
    escaped = SECRET.replace("/", slash).replace("+", plus)
    assert redact(f"https://h/x?key={escaped}&next=1") == f"https://h/x?key={MARK}&next=1"


def test_of_a_key_file_the_lines_between_header_and_footer_are_secret():
    body = [string.ascii_letters[at:] + string.ascii_letters[:at] for at in (0, 7, 19)]
    register("\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *body, "-----END OPENSSH PRIVATE KEY-----", ""]))
    for line in body:
        assert redact(f"cat: {line}!") == f"cat: {MARK}!"
    assert redact("".join(body)) == MARK
    assert redact("-----BEGIN OPENSSH PRIVATE") == "-----BEGIN OPENSSH PRIVATE"


def test_keys_of_certificates_and_of_ssh_are_known_when_they_are_made_or_read(tmp_path, monkeypatch):
    texts = [make_key().private]
    _, key = make_certificate(tmp_path)
    texts.append(key.read_text())
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    run = Run("r1")
    made = make_keys(run, tmp_path / "keys")
    texts += [(made / name).read_text() for name in ("client", "host")]
    for known_again in (False, True):
        for text in texts[known_again:]:
            for line in text.splitlines()[1:-1]:
                assert len(line) < SHORTEST or redact(f"x {line}") == f"x {MARK}" + "=" * line.count("=")
        # Another worker reads what this one made.
        known_secrets._known.clear()
        make_certificate(tmp_path)
        make_keys(run, made)


@pytest.mark.parametrize("secret", ["k3Jf8sLq0Zx7Vb2N", "k3Jf8sLq0Zx7Vb2Ny"])
def test_the_shortest_that_counts_is_found_whole(secret):
    register(secret)
    assert redact(f"a {secret}, b") == f"a {MARK}, b"
    assert redact(f"a {secret[1:-1]}, b") == f"a {secret[1:-1]}, b"


def test_what_stands_before_between_and_behind_secrets_is_kept():
    word = "var/lib/incus/database/global"
    assert redact(word) == word
    text = f"{word}/{SECRET}/{word}/{OTHER}/{word}"
    assert redact(text) == f"{word}/{MARK}/{word}/{MARK}/{word}"


def test_the_words_around_a_key_are_no_secret():
    register("-----BEGIN RSA PRIVATE KEY-----\nq7Rk/2m+Zt5Yw0Hs\n-----END RSA PRIVATE KEY-----\n")
    assert redact("BEGINRSAPRIVATEKEY ENDRSAPRIVATEKEY") == "BEGINRSAPRIVATEKEY ENDRSAPRIVATEKEY"


@given(st.text(string.ascii_letters + string.digits + "/ \n", max_size=300))
def test_other_text_is_kept(text):
    assert MARK not in redact(text)


@pytest.mark.parametrize("piece", ["a", "a\n", "%2F", "\\n", "\\", "x" * 15 + " ", "/var/lib/incus/x "])
def test_long_texts_take_no_longer_by_the_character(piece):
    began = time.process_time()
    redact(piece * (400_000 // len(piece)))
    assert time.process_time() - began < 10


@pytest.mark.parametrize("lead", range(0, len(SECRET), 7))
def test_no_step_has_a_part_of_it_wherever_a_long_text_is_cut(tmp_path, lead):
    transcript = Transcript(tmp_path / "transcript.jsonl")
    transcript.note("run", "m1", "cat", stdout="x " * ((LIMIT // 2 - lead) // 2) + SECRET + " y" * LIMIT)
    transcript.note("run", "m1", "cat", stdout="x " * LIMIT + SECRET + " y" * ((LIMIT // 2 - lead) // 2))
    transcript.flush()
    assert not shows((tmp_path / "transcript.jsonl").read_text())


def test_another_token_that_begins_like_a_known_one_is_redacted_whole():
    def token(secret: str) -> str:
        return base64.b64encode(json.dumps({"server_name": "m2", "secret": secret}).encode()).decode()

    register(token("abcdefghijkl" * 8))
    other = token("mnopqrstuvwx" * 8)
    assert redact(f"join {other} now") == "join [redacted] now"
