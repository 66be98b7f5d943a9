"""Secrets never survive, whatever they are wrapped in; everything else does."""

from __future__ import annotations

import base64
import json
import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clusterproof.lab.core.redaction import MARK, redact

SECRET = "3f9c1a" * 10
TOKEN_FACTS = {
    "server_name": "m2",
    "fingerprint": "fab1e5" * 10,
    "addresses": ["10.176.0.9:8443"],
    "secret": SECRET,
    "expires_at": "2026-01-02T03:04:05Z",
}
BODY = base64.b64encode(bytes(range(192))).decode()


def token(facts: dict | None = None) -> str:
    return base64.b64encode(json.dumps(facts or TOKEN_FACTS).encode()).decode()


def key(kind: str = "", line_break: str = "\n") -> str:
    lines = [BODY[at : at + 64] for at in range(0, len(BODY), 64)]
    lines = [f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----", ""]
    return line_break.join(lines)


def shows(text: str, secret: str) -> bool:
    """Say whether a part of ``secret`` that is long enough to be of use is in ``text``."""
    return any(secret[at : at + 16] in text for at in range(max(1, len(secret) - 15)))


tokens = st.builds(
    lambda name, secret: token({**TOKEN_FACTS, "server_name": name, "secret": secret}),
    st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=30),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
around = st.text(max_size=60)


@given(around, tokens, st.sampled_from(" \n\"'=,:;()[]<>|\\"), around)
def test_a_token_in_any_text(before, secret, beside, after):
    clean = redact(before + beside + secret + beside + after)
    assert secret not in clean
    assert not shows(clean, secret)


@given(tokens, st.sampled_from([64, 76]), st.sampled_from(["\n", "\r\n", "\\n", "\n    "]))
def test_a_token_that_is_broken_into_lines(secret, width, line_break):
    lines = [secret[at : at + width] for at in range(0, len(secret), width)]
    clean = redact(f"token:\n{line_break.join(lines)}\ngate passed\n")
    assert not any(shows(clean, line) for line in lines if len(line) > 3)
    assert clean.endswith("gate passed\n")


def test_of_a_bearer_token_the_signature_goes_too():
    signature = "s5Xq" * 10
    text = f"cookie={token()[:40]}.{token()}.{signature} kept".replace("=.", ".")
    clean = redact(text)
    assert not shows(clean, signature)
    assert clean.endswith(" kept")


@pytest.mark.parametrize("before", ["", "\\n", "token_", "x", "é", "%22", "\x1b[1m"])
def test_a_token_that_touches_other_letters(before):
    assert not shows(redact(before + token()), token())


@pytest.mark.parametrize("product_token", [{"client_name": "lab", **TOKEN_FACTS}, {"type": "x" * 50}])
def test_other_tokens_of_the_products(product_token):
    assert not shows(redact(f"token: {token(product_token)}\n"), token(product_token))


@given(
    around,
    st.sampled_from(["", "EC ", "RSA ", "OPENSSH ", "ENCRYPTED "]),
    st.sampled_from(["\n", "\r\n", "\\n", "\n    "]),
    around,
)
def test_a_private_key_in_any_text(before, kind, line_break, after):
    clean = redact(before + key(kind, line_break) + after)
    assert not shows(clean, BODY)
    assert f"-----BEGIN {kind}PRIVATE KEY-----{MARK}" in clean


@given(st.integers(min_value=40, max_value=len(key("EC ")) - 1))
def test_a_private_key_that_is_cut_off(length):
    assert not shows(redact(key("EC ")[:length]), BODY)


def test_a_certificate_beside_a_key_is_kept():
    certificate = f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\n"
    assert redact(certificate) == certificate
    clean = redact(key("EC ") + certificate + key())
    assert certificate in clean
    assert clean.count(MARK) == 2
    assert clean.count(BODY) == 1


FIELDS = ["secret", "password", "trust_token", "trust_password", "cluster_token", "cluster_password"]
secrets_of_people = st.text(string.ascii_letters + string.digits + "-_.!$/+", min_size=8, max_size=40)


@given(st.sampled_from(FIELDS), secrets_of_people, around)
def test_a_field_in_json(name, secret, after):
    assume(secret not in after)
    for text in (
        json.dumps({"a": 1, name: secret, "z": after}),
        json.dumps({"a": {name: secret}}, indent=2),
        json.dumps([{name: secret}], separators=(",", ":")),
    ):
        clean = redact(text)
        assert secret not in clean
        json.loads(clean)


@given(st.sampled_from([*FIELDS, "core.trust_password"]), secrets_of_people, around)
def test_a_field_in_yaml(name, secret, before):
    assume(secret not in before)
    for quote in ("", '"', "'"):
        clean = redact(f"{before}\nconfig:\n  {name}: {quote}{secret}{quote}\n  next: kept\n")
        assert secret not in clean
        assert "next: kept" in clean


@pytest.mark.parametrize(
    "text",
    [
        # JSON in JSON, as a daemon logs what it was sent.
        'level=debug msg="{\\"server_name\\":\\"m2\\",\\"secret\\":\\"SECRET\\"}"',
        # A person's password: blanks and commas are part of it, and it may be short.
        '{"trust_password": "SECRET horse, battery"}',
        # A storage bucket's key.
        '{"access-key": "AAAA", "secret-key": "SECRET"}',
        # A row of the database's dump.
        "INSERT INTO config VALUES(3,'core.trust_password','SECRET');",
        "incus config set core.trust_password SECRET",
        "https://10.1.2.3:8443/1.0/images/abc/export?secret=SECRET&project=default",
        "PASSWORD=SECRET",
        "Authorization: Bearer SECRET",
        "headers=map[Authorization:[Bearer SECRET] Accept:[*/*]]",
        '{"authorization": "bearer SECRET"}',
        "curl -H 'Bearer SECRET' https://10.1.2.3",
        "openfga.api.token: SECRET",
        '{"config": {"loki.auth.password": "SECRET", "maas.api.key": "SECRET"}}',
        "incus config set acme.eab.hmac=SECRET",
        "incus config set acme.eab.hmac SECRET",
        "lxc config set openfga.api.token SECRET",
        "INSERT INTO config VALUES(3,'acme.eab.hmac','SECRET');",
    ],
)
def test_a_secret_where_products_show_it(text):
    clean = redact(text.replace("SECRET", SECRET))
    assert not shows(clean, SECRET)
    assert "horse" not in clean
    assert "battery" not in clean


# A type (16 bits), a time, a length and the key itself, as ceph-authtool makes them.
ceph_keys = st.one_of(
    st.binary(min_size=26, max_size=26).map(lambda rest: base64.b64encode(b"\x01\x00" + rest).decode()),
    st.binary(min_size=42, max_size=42).map(lambda rest: base64.b64encode(b"\x02\x00" + rest).decode()),
)


@given(
    ceph_keys,
    st.sampled_from(
        [
            '[client.admin]\n\tkey = KEY\n\tcaps mds = "allow *"\n',
            "KEY\n",
            '[{"entity":"osd.0","key":"KEY","caps":{"osd":"allow *"}}]',
            "10.1.2.3:6789:/ /mnt/x ceph rw,name=admin,secret=KEY,acl,mds_namespace=lab 0 0",
            "mount -t ceph 10.1.2.3:6789:/ /x -o name=admin,secret=KEY,mds_namespace=lab",
            "stdout='KEY\\n'",
            "line\\nKEY\\n",
            "ceph auth get-key client.admin: KEY",
            "rbd map --key KEY --pool p",
        ]
    ),
)
def test_a_key_of_ceph(secret, text):
    clean = redact(text.replace("KEY", secret))
    assert not shows(clean, secret)
    assert clean.partition("[redacted]")[0] == text.partition("KEY")[0]
    assert "allow *" in clean or "allow *" not in text
    assert "mds_namespace=lab" in clean or "mds_namespace" not in text


@given(ceph_keys, st.integers(20, 38))
def test_a_key_of_ceph_that_is_cut_off(secret, length):
    clean = redact(f"[client.admin]\n\tkey = {secret[:length]}")
    assert secret[:11] not in clean


@given(ceph_keys)
def test_a_key_of_ceph_in_an_address_and_in_escaped_json(secret):
    for text in (secret.replace("=", "%3D"), secret.replace("=", "\\u003d"), secret.replace("/", "\\/")):
        assert not shows(redact(f'"{text}"'), text)


def test_base64_that_only_holds_what_a_key_of_ceph_begins_with_is_kept():
    text = f"MIIB{'AQAB' * 12}=="
    assert redact(text) == text


@pytest.mark.parametrize("secret", ["abc", "a,b", "hunter2", 'say "friend"', "back\\slash", "it's"])
def test_a_short_or_odd_secret_in_quotes(secret):
    text = redact(json.dumps({"password": secret, "next": "kept"}))
    assert json.loads(text) == {"password": MARK, "next": "kept"}


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "-", "_.", "secret", "password_", "eyJ ", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "\\"),
        *("AQA", "\\nAQA", "key = AQA", "key  "),
    ],
)
def test_long_texts_take_no_longer_by_the_character(piece):
    # Logs and dumps are as long as this. It takes a tenth of a second; a quadratic pattern would take minutes.
    began = time.process_time()
    redact(piece * (400_000 // len(piece)))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 of 3 members ONLINE 4.1 s after the restart",
        "Error: this node's version is behind, please upgrade",
        "fingerprint: " + "ab12" * 16,
        '{"password_policy": {"least": 8}, "secretary": "Ada Lovelace"}',
        "the secret is that there is none; passwords are not used",
        "the bearer of good news; Bearer authentication is not supported",
        "api.tokens: 3 of them; see the API token page",
        "eyJust a word",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "key = AQ of the year",
        "SELECT MAX(version) FROM schema",
        'core.https_address: "10.176.0.2:8443"\ncluster:\n  enabled: true\n',
    ],
)
def test_ordinary_text_is_unharmed(text):
    assert redact(text) == text


pieces = st.one_of(
    around,
    tokens,
    st.sampled_from(
        [key(), key()[:90], key()[90:], "password=", "secret: ", '"', "'", MARK, "eyJ", "\\"]
    ),
)


@given(st.lists(pieces, max_size=8).map("".join))
def test_once_is_enough(text):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\\n", "\\\\n"])
@pytest.mark.parametrize("cut", [10, 40, 200])
def test_a_key_whose_beginning_was_cut_off_is_taken_out(line_break, cut):
    left = f"said: ...{key('EC ', line_break)[cut:]} goes on"
    assert not shows(redact(left), BODY)
    assert redact(left).startswith("said: ")
    assert redact(left).endswith("-----END EC PRIVATE KEY-----" + line_break + " goes on")
    assert redact(redact(left)) == redact(left)


def test_the_end_of_a_key_alone_takes_nothing_with_it():
    text = "it said: (short) -----END PRIVATE KEY----- and went on"
    assert redact(text) == text
