"""A product seen from outside: its commands, paths, units, packages and tracks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clusterproof.builds import Product, parse_version, upstream

# The track of releases that are in no maintained line.
FEATURE = "feature"


class Data(BaseModel):
    """A table of a product's file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Units(Data):
    """The systemd units of a product; ``startup`` starts the instances that were running."""

    service: str
    socket: str
    startup: str


class Track(Data):
    """A maintained line of a product."""

    name: str = Field(min_length=1)
    about: str = Field(min_length=1)


class ProductFacts(Data):
    """What a product is, seen from outside; every path is one inside a member.

    ``admin`` begins an administrator's command line (``[*admin, "init", "--preseed"]``,
    ``[*admin, "sql", "global", query]``). ``bump_variable`` is an environment variable of the
    daemon: a signed number added to the count of its API extensions. ``patch_file`` is SQL that
    the daemon runs against the cluster database at its next start. The first of ``packages`` is
    the one whose version is the build's; members that are VMs have ``vm_packages``, too. ``extensions`` are API
    extensions that scenarios ask for and that only builds have which the catalogue cannot install yet.
    ``packaged`` says how the server is handled on a member (lab/cluster/packaging.py).
    """

    name: Product
    packaged: Literal["package", "snap"] = "package"
    client: str
    admin: tuple[str, ...] = Field(min_length=1)
    daemon: str = Field(pattern="^/")
    state_dir: str = Field(pattern="^/")
    log_dir: str = Field(pattern="^/")
    run_dir: str = Field(pattern="^/")
    socket: str = Field(pattern="^/")
    patch_file: str = Field(pattern="^/")
    bump_variable: str = Field(pattern="^[A-Z_]+$")
    packages: tuple[str, ...] = Field(min_length=1)
    vm_packages: tuple[str, ...] = ()
    units: Units
    tracks: tuple[Track, ...] = Field(min_length=1)
    extensions: tuple[str, ...] = ()

    @property
    def pid_file(self) -> str:
        """Where the number of a server is that has left the cgroup of its unit; empty where it stays there."""
        if self.packaged != "snap":
            return ""
        # In the snap's folder for what outlives a revision (snapcraft/commands/daemon.start of LXD).
        return str(PurePosixPath(self.state_dir).with_name(f"{self.name}.pid"))

    def guess(self, channel: str) -> str:
        """Return a version to sort ``channel`` by until it is installed: its own, else the newest track's."""
        found = re.search(r"\d+(\.\d+)*", channel)
        if found:
            return found[0]
        return max((t.name for t in self.tracks if t.name != FEATURE), key=parse_version)

    def track_of(self, version: str) -> str:
        """Return the track of ``version``: the one whose name it begins with, else the feature releases."""
        parts = upstream(version).partition("+")[0].split(".")
        for count in range(len(parts), 0, -1):
            name = ".".join(parts[:count])
            if any(track.name == name for track in self.tracks):
                return name
        return FEATURE
