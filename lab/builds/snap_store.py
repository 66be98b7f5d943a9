"""The snap store: which revision a channel has now.

The public API is that of ``snap info``: GET /v2/snaps/info/NAME, with the header Snap-Device-Series.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.sources import RISKS
from clusterproof.lab.core import fetching
from clusterproof.lab.core.architecture import debian_architecture
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.unreachable import why_unreachable

STORE = "https://api.snapcraft.io"


class _Part(BaseModel):
    """A part of the answer; fields that are not needed are ignored, as the store may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Channel(_Part):
    """Where a revision is released to.

    ``name`` has a third part where it is a branch, which a developer has opened for a moment.
    """

    name: str = ""
    track: str
    risk: Literal["stable", "candidate", "beta", "edge"]
    architecture: str

    @property
    def is_branch(self) -> bool:
        """Whether it is a branch, which has the track and risk of the channel that it is opened on."""
        return self.name not in ("", self.risk, f"{self.track}/{self.risk}")


class Release(_Part):
    """A revision in a channel."""

    channel: Channel
    revision: int = Field(gt=0)
    version: str


class Answer(_Part):
    """What the store says of a snap."""

    channel_map: tuple[Release, ...] = Field(alias="channel-map")

    def find(self, channel: str, architecture: str) -> Release:
        """Return the release that ``snap install --channel`` would take.

        A risk without a release of its own has that of the next safer one. Raises LabError where the track
        has nothing, UsageError for what is not a channel.
        """
        track, _, risk = channel.rpartition("/")
        if not track or risk not in RISKS:
            raise UsageError(f'channel "{channel}" is not like 5.21/stable (risks: {", ".join(RISKS)})')
        mine = [
            release
            for release in self.channel_map
            if release.channel.architecture == architecture and not release.channel.is_branch
        ]
        for wanted in reversed(RISKS[: RISKS.index(risk) + 1]):
            for release in mine:
                if (release.channel.track, release.channel.risk) == (track, wanted):
                    return release
        tracks = ", ".join(sorted({release.channel.track for release in mine})) or "none"
        raise LabError(
            f"channel {channel} has no release for {architecture} (tracks that have one: {tracks})"
        )


def ask(snap: str) -> Answer:
    """Return what the store says of ``snap``, all channels in one answer.

    ``LAB_SNAP_STORE`` is the address of another store. Raises LabError where it does not answer or has none.
    """
    store = os.environ.get("LAB_SNAP_STORE", STORE).rstrip("/")
    url = f"{store}/v2/snaps/info/{snap}"
    try:
        content = fetching.get(
            url,
            params={"fields": "revision,version", "architecture": debian_architecture()},
            headers={"Snap-Device-Series": "16"},
        )
        return Answer.model_validate_json(content)
    except requests.HTTPError as error:
        raise LabError(f"the snap store has no answer about {snap} ({error})") from error
    except requests.RequestException as error:
        raise LabError(
            f"the snap store cannot be asked for {snap} at {store}: {why_unreachable(error)}; "
            "name another one with LAB_SNAP_STORE, or a revision that is baked: --build CHANNEL=REVISION"
        ) from error
    except ValidationError as error:
        wrong = fetching.what_is_wrong(error)
        raise LabError(f"the snap store's answer at {url} is not of its documented form ({wrong})") from error


def settle(builds: Sequence[CatalogueBuild], known: Mapping[str, int] | None = None) -> list[CatalogueBuild]:
    """Return ``builds``, each channel of a snap with its revision; the store is asked once for each snap.

    ``known`` has revisions by build's name that were found before, so that all of a run have the same. A channel
    for which there is none has the reason instead: its cells are blocked, and all others run. Raises UsageError.
    """
    answers: dict[str, Answer | LabError] = {}

    def answer(snap: str) -> Answer:
        if snap not in answers:
            try:
                answers[snap] = ask(snap)
            except LabError as error:
                answers[snap] = error
        found = answers[snap]
        if isinstance(found, LabError):
            raise found
        return found

    def one(build: CatalogueBuild) -> CatalogueBuild:
        def find(snap: str, channel: str) -> int:
            return (known or {}).get(build.name) or answer(snap).find(channel, debian_architecture()).revision

        return build.resolved(find)

    return [one(build) for build in builds]


def twins(builds: Iterable[CatalogueBuild]) -> dict[str, str]:
    """Return by build's name the one that has the same revision of a snap in a safer channel.

    They are one build: a channel is only a way to find it.
    """
    first: dict[tuple[str, int], str] = {}
    found: dict[str, str] = {}
    snaps = [(build, revision) for build in builds if (revision := build.source.snap_revision)]
    for build, revision in sorted(snaps, key=lambda one: one[0].source.risk):
        twin = first.setdefault(revision, build.name)
        if twin != build.name:
            found[build.name] = twin
    return found


def given(texts: Iterable[str], builds: Iterable[CatalogueBuild]) -> dict[str, int]:
    """Return by build's name the revisions that ``texts`` ask for, like ``lxd@5.21/edge=33110``.

    Raises UsageError for what is not of this form, and for a build that is not the channel of a snap.
    """
    snaps = [build.name for build in builds if build.source.takes_revision]
    found: dict[str, int] = {}
    for text in texts:
        name, _, revision = text.partition("=")
        if name not in snaps:
            raise UsageError(
                f"--build {text}: {name} is not the channel of a snap, and only those have revisions"
            )
        if not (revision.isascii() and revision.isdigit() and int(revision)):
            raise UsageError(f'--build {text}: "{revision}" is not a revision; write it like {name}=33110')
        found[name] = int(revision)
    return found


def revisions(builds: Iterable[CatalogueBuild]) -> dict[str, int]:
    """Return by build's name the revisions that were found."""
    return {build.name: found[1] for build in builds if (found := build.source.snap_revision)}
