"""Evidence: logs and state of every member, collected so that others can judge a result later."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.cluster.member import CommandError, Member
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.redaction import redact
from clusterproof.lab.substrates.machine import CommandTimeoutError

_SCRIPT = Path(__file__).parent / "collect.sh"
_INSIDE = "/run/clusterproof-evidence"


def collect(cluster: Cluster, folder: Path) -> None:
    """Write the evidence of every member of ``cluster`` to ``folder/<member>/``, with secrets redacted.

    Where a member cannot be reached, not-collected.txt has the reason. Raises OSError where the folder cannot be
    written.
    """
    members = cluster.members
    if not members:
        return
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(lambda member: _collect(member, folder / member.name), members))
    for member, logs in cluster.past_logs.items():
        for number, log in enumerate(logs, 1):
            _write(folder / member / f"daemon-before-change-{number}.log", log.encode())


def _collect(member: Member, folder: Path) -> None:
    if console := member.machine.console():
        # The console comes from outside of the VM, so that it is there even where the VM does not answer.
        _write(folder / "console.log", console.encode())
    facts = member.facts
    environment = {
        "ADMIN": " ".join(facts.admin),
        "API": facts.socket,
        "STATE_DIR": facts.state_dir,
        "LOG_DIR": facts.log_dir,
        "SERVICE": facts.units.service,
        "SOCKET": facts.units.socket,
        **member.daemon.packaging.environment,
    }
    assignments = [f"{key}={value}" for key, value in environment.items()]
    try:
        # Not through the member, whose transcript records the scenario's steps only.
        machine = member.machine
        machine.write(f"{_INSIDE}.sh", _SCRIPT.read_bytes(), 0o755)
        machine.execute(["env", *assignments, f"{_INSIDE}.sh", _INSIDE], timeout=90)
        with tarfile.open(fileobj=io.BytesIO(machine.read(f"{_INSIDE}.tar"))) as archive:
            for entry in archive:
                # A link could lead to a file of this computer.
                content = archive.extractfile(entry) if entry.isfile() else None
                name = PurePosixPath(entry.name).name
                if content is not None and name not in ("", ".", ".."):
                    _write(folder / name[-200:], _legible(name, content.read()))
    except (LabError, CommandError, CommandTimeoutError, OSError, tarfile.TarError) as error:
        _write(folder / "not-collected.txt", f"{type(error).__name__}: {error}\n".encode())


def _legible(name: str, content: bytes) -> bytes:
    """Return the content of file ``name``; an answer of the product's API is unwrapped and indented."""
    if name.endswith(".json"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return json.dumps(json.loads(content)["metadata"], indent=1).encode()
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(redact(content.decode(errors="replace")), encoding="utf-8")
