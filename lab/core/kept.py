"""Clusters that stay after the process that made them: whose they are, and who may remove them unasked."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from clusterproof.lab.core.runs import Run

# The checkout, or the folder that the package is installed in.
CHECKOUT = Path(__file__).resolve().parents[2]
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Kept:
    """A cluster that stays: its run, what it runs, and by whom, from which checkout and when (UTC) it was made.

    ``cell`` is that of a run of scenarios whose cluster was kept as it failed; then only the members
    ``instances`` stay of what the run made. Empty texts where that is not known.
    """

    run: Run
    build: str = ""
    user: str = ""
    checkout: str = ""
    made: str = ""
    cell: str = ""
    instances: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return what is known of the kept ``run``."""
        try:
            facts = json.loads(run.kept_note())
            words = {key: str(facts.get(key, "")) for key in ("build", "user", "checkout", "made", "cell")}
            return cls(run, **words, instances=tuple(map(str, facts.get("instances", ()))))
        except (OSError, ValueError, AttributeError, TypeError):
            return cls(run)

    @classmethod
    def every(cls) -> list[Self]:
        """Return all there are in the lab's folder, the oldest first."""
        return [cls.of(run) for run in Run.known() if run.kept]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.run.id

    @property
    def mine(self) -> bool:
        """Whether this user made it from this checkout."""
        return (self.user, self.checkout) == (person(), str(CHECKOUT))

    def is_called(self, name: str) -> bool:
        """Say whether it is called ``name``: by its whole name, or by the four digits that end it."""
        return name in (self.name, self.name.rpartition("-")[2])

    def stays(self, name: str) -> bool:
        """Say whether the instance, volume or process ``name`` of the run is of the cluster that stays."""
        return any(name == one or name.startswith(f"{one}-") for one in self.instances)

    def age(self, now: datetime | None = None) -> str:
        """Return how old it is, in the largest fitting unit."""
        try:
            seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(self.made)).total_seconds()
        except ValueError:
            return "of unknown age"
        for unit, word in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
            if seconds >= unit:
                return f"{seconds / unit:.0f} {word} old"
        return f"{seconds:.0f} s old"

    def how_to(self) -> list[str]:
        """Return how it is entered and removed, and how long it stays."""
        cell = [f"kept: the cluster of {self.cell}"] if self.cell else []
        return [
            *cell,
            f"enter a member: clusterproof shell m1 --cluster {self.name}",
            f"remove it:      clusterproof down {self.name}",
            "it stays until then, whatever other runs and sweeps do, or until this computer restarts",
        ]

    def __str__(self) -> str:
        """Name, build, age, user and checkout, on one line."""
        build = self.build or "a build that was not noted"
        whose = f"{self.user} from {self.checkout}" if self.user else "somebody"
        cell = f", of the failed cell {self.cell}" if self.cell else ""
        return f"{self.name}  {build}, {self.age()}, made by {whose}{cell}"


def keep(run: Run, build: str, cell: str = "", instances: Sequence[str] = ()) -> Kept:
    """Let what ``run`` made stay, or of it only ``instances``, and note whose it is."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    kept = Kept(run, build, person(), str(CHECKOUT), made, cell, tuple(instances))
    run.keep(json.dumps({key: value for key, value in vars(kept).items() if key != "run"}))
    return kept


def person() -> str:
    """Return the user's name, also of one who became root by sudo."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
