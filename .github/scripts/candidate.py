"""Say what a qualification runs on: a build and its predecessor, or a build of one's own over another.

``candidate.py BUILD [--revision NUMBER] [--against BUILD] [--own PATH]``. ``--own`` is a folder with what was
uploaded: one daemon, one snap, or packages, which is laid over BUILD and compared with it. Tells GitHub
``judged`` and ``against``, the names of the two builds, ``builds``, those of them that ``--build`` takes,
``revisions``, those that their channels have, and ``sideload``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from clusterproof.lab.builds import catalogue
from clusterproof.lab.builds.catalogue import Catalogue
from clusterproof.lab.core.errors import UsageError
from clusterproof.reports.plan.plan import Plan, PlannedBuild

_CHANNEL = re.compile(r"(?P<product>[a-z]+)@(?P<track>[^/\s]+)/(?P<risk>[a-z]+)")
_SHOWN = 5  # files that a message names


def predecessor(name: str, known: Catalogue) -> str:
    """Return what build ``name`` follows, or nothing where there is no telling.

    A channel that is not stable follows the stable one of its track, a build of the catalogue the one
    before it, and all else, which somebody just made, the newest of the catalogue.
    """
    channel = _CHANNEL.fullmatch(name)
    if channel and channel["risk"] != "stable":
        return f"{channel['product']}@{channel['track']}/stable"
    product = name.partition("@")[0]
    # Builds, and not the other channels that the catalogue may have.
    same = [build.name for build in known.builds if build.product == product and "/" not in build.name]
    if name in same:
        place = same.index(name)
        return same[place - 1] if place else ""
    return same[-1] if same else ""


def uploaded(folder: Path) -> Path:
    """Return what ``--sideload`` takes of the folder. Raises UsageError where it is not one build."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    packages = [path for path in files if path.suffix == ".deb"]
    if packages and len({path.parent for path in packages}) == 1 and len(packages) == len(files):
        return packages[0].parent
    if len(files) == 1:
        # An artifact does not keep modes.
        files[0].chmod(0o755)
        return files[0]
    names = ", ".join(str(path.relative_to(folder)) for path in files[:_SHOWN]) or "nothing"
    raise UsageError(
        f"the artifact has {names}{' and more' if len(files) > _SHOWN else ''}; "
        "it must have one daemon, one snap, or packages in one folder and nothing else"
    )


def resolve(*options: str) -> PlannedBuild:
    """Return the one build that ``options`` of a run choose. Raises UsageError."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        command = [sys.executable, "-m", "clusterproof", "qualify", "-q", f"--plan-json={plan}", *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode or not plan.exists():
            said = " ".join(done.stdout.split()[-30:])
            raise UsageError(f"{' '.join(options)} cannot be run on{f': {said}' if said else ''}")
        builds = Plan.model_validate_json(plan.read_text(encoding="utf-8")).builds
    if len(builds) != 1:
        raise UsageError(f"{' '.join(options)} are {len(builds)} builds; name one")
    return builds[0]


def choose(build: str, revision: str, against: str, own: Path | None) -> dict[str, str]:
    """Return what is to be told to GitHub. Raises UsageError."""
    sideload = f"{build}={uploaded(own)}" if own else ""
    if sideload:
        judged = resolve(f"--sideload={sideload}")
        wanted = against or build
    else:
        asked = [f"--revision={build}={revision}"] if revision else []
        judged = resolve(f"--build={build}", *asked)
        wanted = against or predecessor(build, catalogue.load())
    other = resolve(f"--build={wanted}") if wanted else None
    if other and (other.name == judged.name or (judged.revision and other.revision == judged.revision)):
        same = f", revision {judged.revision}" if judged.revision else ""
        raise UsageError(f"{judged.name} and {other.name} are the same build{same}; compare with another one")
    both = [judged, other] if other else [judged]
    named = [one for one in both if not (sideload and one is judged)]
    return {
        "judged": judged.name,
        "against": other.name if other else "",
        "builds": " ".join(one.name for one in named),
        "revisions": " ".join(f"{one.name}={one.revision}" for one in named if one.revision),
        "sideload": sideload,
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the outputs; return the exit status."""
    parser = argparse.ArgumentParser(prog="candidate.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("build", help="what to qualify, or what --own is laid over")
    parser.add_argument("--revision", default="", help="of a snap's channel, not the one that it has now")
    parser.add_argument("--against", default="", help="what to compare it with; by default its predecessor")
    parser.add_argument("--own", type=Path, help="the folder with a build of one's own")
    given = parser.parse_args(arguments)
    if not given.build or re.search(r"\s", given.build + given.against):
        parser.error("name one build, and one to compare it with")
    try:
        told = choose(given.build, given.revision, given.against, given.own)
    except UsageError as error:
        sys.stderr.write(f"candidate.py: {error}\n")
        return 1
    lines = "".join(f"{key}={value}\n" for key, value in told.items())
    sys.stdout.write(lines)
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            file.write(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
