"""What docs/security.md says of ports, confinement and secrets is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clusterproof.lab.core import known_secrets
from clusterproof.lab.core.redaction import redact
from clusterproof.lab.host.names import NETWORK
from clusterproof.lab.substrates.machine import PORT
from clusterproof.lab.substrates.server_instance import FORWARDED

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text()
MEMBER = (ROOT / "lab/preseeds/member.yaml").read_text()


def section(title: str) -> str:
    """Return what stands below the heading ``title``."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def rows(title: str) -> list[list[str]]:
    """Return the cells of each row of the table below ``title``, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_members_that_are_containers_are_as_unconfined_as_it_says():
    said = section("What members can do to the host")
    assert "**privileged**" in said
    assert 'security.privileged: "true"' in MEMBER
    assert "may nest" in said
    assert 'security.nesting: "true"' in MEMBER
    (profile,) = re.findall(r"`(lxc\.apparmor\.profile=\w+)`", said)
    assert profile in MEMBER
    # Beyond those of every container, loop devices and no others.
    assert "loop devices" in said
    assert set(re.findall(r"devices\.allow=(\w \S+)", MEMBER)) == {"c 10:237", "b 7:*"}


def test_the_api_of_a_member_listens_where_it_says():
    listed = rows("What listens where")
    (member,) = [row for row in listed if row[0].startswith("a member's API")]
    assert member[1] == str(PORT)
    assert member[2].startswith(f"the bridge `{NETWORK}`")
    forwarded = [row for row in listed if "one of" in row[1]]
    assert len(forwarded) == 2
    for row in forwarded:
        assert re.findall(r"\d+", row[1]) == [str(port) for port in FORWARDED]
    # What a remote host forwards for a container is open to everybody.
    (proxy,) = re.findall(r"^ *listen: (\S+)", MEMBER, re.MULTILINE)
    assert proxy.startswith("tcp:0.0.0.0:")
    assert "**all addresses of the server that carries the member**" in forwarded[0][2]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("private keys", "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----"),
        ("tokens of LXD and\nIncus", "eyJzZXJ2ZXJfbmFtZSI6Im0yIiwic2VjcmV0IjoiU0VDUkVU"),
        ("bearer tokens", "Authorization: Bearer SECRET"),
        ("keys of Ceph", "\tkey = AQBSRUNSRVQAAAAAU0VDUkVUU0VDUkVUU0VDUkVUAA=="),
        ("passwords and tokens in the products' configuration", "core.trust_password: SECRET"),
    ],
)
def test_a_secret_is_recognized_by_the_form_that_it_says(words, text):
    secret = "k3Jf8sLq0Zx7Vb2Nq7Rk2mZt5Yw0Hs"
    assert words in section("Secrets")
    shown = redact(text.replace("SECRET", secret))
    assert secret not in shown
    assert shown != text


def test_what_may_stay_of_a_secret_that_was_cut_is_as_long_as_it_says():
    assert f"Fewer than {known_secrets.SHORTEST} characters" in section("Secrets")
