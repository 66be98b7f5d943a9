"""A whole run in a lab where everything is hostile: logs, commands, answers, checks and names of files.

What a product prints goes from a member into transcript and evidence, into results and history, and
from there onto pages. Here it carries scripts, what steers terminals, bytes that are no text, more of
it than anybody can read, and secrets.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.site.publish import publish_site
from tests.fakes import INCUS_604, FakeCheckout, FakeMachine, FakeServer, bake_beforehand, stay_alone
from tests.pages import HOSTILE

SECRET = "c3VwZXJzZWNyZXQ" + "Zx81Qp" * 20
TOKEN = base64.b64encode(json.dumps({"server_name": "m2", "secret": SECRET}).encode()).decode()
KEY = f"-----BEGIN EC PRIVATE KEY-----\n{SECRET[:64]}\n{SECRET[64:]}\n-----END EC PRIVATE KEY-----"
PASSWORD = "correct-horse-battery"
TEXT = "\n".join(
    [*HOSTILE, "\x1b]0;title\x07\x1b[2J\x1b[31mred", f"join {TOKEN}", KEY, f"trust_password: {PASSWORD}"]
)

SCENARIO = """
from pathlib import Path

TEXT = Path({path!r}).read_text(encoding="utf-8")

@pytest.mark.members(1)
def test_symptom(unjoined, symptom):
    unjoined.members[0].run(["sh", "-c", TEXT])
    with symptom("it keeps " + TEXT):
        assert False, "m1 forgot its name " + TEXT

def test_other(cell):
    raise ValueError(TEXT)
"""


def packed(size: int) -> bytes:
    """Return what a member's evidence is packed into, with a log of ``size`` bytes."""
    line = b'level=info msg="nothing <b>new</b>" \x1b[1m\xff\xfe\n'
    log = (
        TEXT.encode(errors="replace")
        + b"\n"
        + line * (size // len(line))
        + TEXT.encode(errors="replace")
    )
    entries = {
        "daemon-incus.log": log,
        "journal.log": bytes(range(256)) * 20 + TEXT.encode(errors="replace"),
        "<img src=x onerror=alert(1)>.html": b"<script>alert(1)</script>",
        "page.svg": b"<svg onload=alert(1) xmlns='http://www.w3.org/2000/svg'/>",
        "members.json": json.dumps({"token": TOKEN, "core.trust_password": PASSWORD}).encode(),
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


@contextmanager
def hostile_site(pytester, monkeypatch, tmp_path, size: int) -> Iterator[Path]:
    """Run scenarios in a hostile lab, with logs of ``size`` bytes; give the folder that holds it all."""
    content = packed(size)
    made: list[FakeMachine] = []

    def machine(_, name, image):
        made.append(FakeMachine(name, image, f"10.176.0.{len(made) + 2}"))
        made[-1].files["/run/clusterproof-evidence.tar"] = content
        return made[-1]

    with FakeServer() as server:
        stay_alone(monkeypatch, tmp_path / "lab")
        monkeypatch.setenv("LAB_HOST", str(server.socket))
        monkeypatch.setattr("clusterproof.lab.substrates.container.Container", machine)
        bake_beforehand(INCUS_604, schema=73)
        checkout = FakeCheckout(pytester, monkeypatch)
        checkout.ledger()
        # Not in the source, which the site shows.
        (tmp_path / "said.txt").write_text(TEXT, encoding="utf-8")
        checkout.scenario(SCENARIO.format(path=str(tmp_path / "said.txt")))
        checkout.run("--build", "incus@6.0.4", "--substrate", "container")
        out = checkout.root / "out"
        observed = {
            cell["scenario"].rpartition("_")[2]: cell["observation"] for cell in checkout.cells()
        }
        assert observed == {"symptom": "symptom", "other": "other-failure"}
        made_site = publish_site(out / "site", load_ledger(checkout.root), out / "history.sqlite")
        assert made_site.problems == []
        yield out


def leaks(folder: Path) -> list[str]:
    """Return the files beneath ``folder`` in which a part of a secret is left."""
    parts = [SECRET[:24], SECRET[64:88], TOKEN[:40], TOKEN[-40:], PASSWORD]
    return [
        f"{path.relative_to(folder)}: {part}"
        for path in folder.rglob("*")
        if path.is_file()
        for part in parts
        if part.encode() in path.read_bytes()
    ]
