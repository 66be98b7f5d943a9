"""The mirror of Debian: by default where the apt of this computer gets its packages."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from clusterproof.lab.core.errors import UsageError

FIELDS = ("ORIGIN", "RELEASE", "CODENAME", "SUITE", "COMPONENT", "REPO_URI")
_URI = re.compile(r"^((https?|ftp)://[^/\s]|(file|copy):/)\S+$")
_LIST = re.compile(r"^mirror\+file:(?://)?(/\S+)$")
_ADDED_TO = re.compile(r"-(security|updates|backports|backports-sloppy|proposed-updates|debug)$")


@dataclass(frozen=True)
class Mirror:
    """The address of Debian's archive and that of its security updates; None where unknown."""

    archive: str | None = None
    security: str | None = None


@dataclass(frozen=True)
class Target:
    """One package index that apt reads; a field that apt does not know is empty."""

    origin: str
    release: str
    codename: str
    suite: str
    component: str
    uri: str

    @property
    def names(self) -> set[str]:
        """The names of the suite in apt's sources and in its Release file."""
        return {self.release, self.codename, self.suite}


def find(override: str | None = None) -> Mirror:
    """Return the mirror to use: ``override``, else ``LAB_MIRROR``, else that of this computer's apt.

    The archive is None where this computer is not Debian, so that mmdebstrap takes its default.
    Raises UsageError where an override is not an address.
    """
    asked = override or os.environ.get("LAB_MIRROR")
    if asked and not _URI.match(asked):
        raise UsageError(
            f'mirror "{asked}" is not an address of an archive; '
            "give one like https://HOST/debian with --mirror or LAB_MIRROR"
        )
    found = choose(parse(_indextargets()), _running_release())
    return Mirror(archive=asked, security=found.security) if asked else found


def parse(text: str) -> list[Target]:
    """Read what ``apt-get indextargets`` prints with ``FIELDS``, one index on each line.

    apt leaves a field that it does not know as ``$(FIELD)``; lines of another form are ignored.
    """
    targets = []
    for line in text.splitlines():
        fields = ["" if field.startswith("$(") else field for field in line.split("|")]
        if len(fields) == len(FIELDS):
            targets.append(Target(*fields))
    return targets


def choose(targets: list[Target], running: str) -> Mirror:
    """Choose Debian's mirror for the release ``running`` (bookworm) among the indexes of apt.

    An index whose Release file was not fetched yet has no origin: it is the last choice.
    ``running`` may be empty (on sid, /etc/os-release has no codename).
    """
    archives = [
        target
        for target in targets
        if target.component == "main" and not any(_ADDED_TO.search(name) for name in target.names)
    ]
    security = [
        target
        for target in targets
        if target.component == "main" and any(name.endswith("-security") for name in target.names)
    ]
    return Mirror(archive=_best(archives, running), security=_best(security, f"{running}-security"))


def _best(targets: list[Target], wanted: str) -> str | None:
    """Return the address of the best of ``targets``: of the running release, and known to be Debian's."""
    ranked = sorted(
        (target for target in targets if target.origin in {"Debian", ""}),
        key=lambda target: (wanted not in target.names, target.origin != "Debian"),
    )
    for target in ranked:
        if not target.origin and wanted not in target.names:
            continue
        if address := _address(target.uri):
            return address
    return None


def _address(uri: str) -> str | None:
    """Return ``uri`` where a member can use it too; of a list of mirrors its first entry."""
    if found := _LIST.match(uri):
        try:
            lines = Path(found[1].rstrip("/")).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        entries = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
        uri = entries[0] if entries else ""
    return uri.rstrip("/") if _URI.match(uri) else None


def _indextargets() -> str:
    """Return apt's package indexes as text; empty where there is no apt."""
    fields = "|".join(f"$({field})" for field in FIELDS)
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _running_release(file: Path = Path("/etc/os-release")) -> str:
    """Return the codename of this computer's distribution; empty where it has none."""
    try:
        text = file.read_text("utf-8")
    except OSError:
        return ""
    found = re.search(r'^VERSION_CODENAME="?([a-z0-9-]+)"?$', text, re.MULTILINE)
    return found[1] if found else ""
