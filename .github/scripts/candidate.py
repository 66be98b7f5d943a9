"""Choose what a qualification runs on: a build and its predecessor, or an uploaded build and its base.

``candidate.py BUILD [--against BUILD] [--uploaded PATH]``. ``--uploaded`` is a folder with one daemon, one snap,
or packages, which is put on top of BUILD and compared with it. Writes outputs for GitHub: ``judged`` and
``against``, the names of the two builds, ``builds``, those of them that ``--build`` takes, and ``sideload``.
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
    """Return the build that ``name`` follows, or nothing where that is not known.

    A channel that is not stable follows the stable one of its track, a build of the catalogue the one
    before it, and any other build, which was made just now, the newest of the catalogue.
    """
    channel = _CHANNEL.fullmatch(name)
    if channel and channel["risk"] != "stable":
        return f"{channel['product']}@{channel['track']}/stable"
    product = name.partition("@")[0]
    same = [build.name for build in known.builds if build.product == product and build.default]
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


def choose(build: str, against: str, upload: Path | None) -> dict[str, str]:
    """Return the outputs by their names. Raises UsageError."""
    sideload = f"{build}={uploaded(upload)}" if upload else ""
    if sideload:
        judged = resolve(f"--sideload={sideload}")
        wanted = against or build
    else:
        judged = resolve(f"--build={build}")
        wanted = against or predecessor(judged.name, catalogue.load())
    other = resolve(f"--build={wanted}") if wanted else None
    if other and (other.name == judged.name or (judged.revision and other.revision == judged.revision)):
        same = f", revision {judged.revision}" if judged.revision else ""
        raise UsageError(f"{judged.name} and {other.name} are the same build{same}; compare with another one")
    both = [judged, other] if other else [judged]
    named = [one for one in both if not (sideload and one is judged)]
    return {
        "judged": judged.name,
        "against": other.name if other else "",
        "builds": " ".join(one.asked for one in named),
        "sideload": sideload,
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the outputs; return the exit status."""
    parser = argparse.ArgumentParser(prog="candidate.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("build", help="what to qualify, or the base of --uploaded")
    parser.add_argument("--against", default="", help="what to compare it with; by default its predecessor")
    parser.add_argument("--uploaded", type=Path, help="the folder with an uploaded build")
    given = parser.parse_args(arguments)
    if not given.build or re.search(r"\s", given.build + given.against):
        parser.error("name one build, and one to compare it with")
    try:
        outputs = choose(given.build, given.against, given.uploaded)
    except UsageError as error:
        sys.stderr.write(f"candidate.py: {error}\n")
        return 1
    lines = "".join(f"{key}={value}\n" for key, value in outputs.items())
    sys.stdout.write(lines)
    if output := os.environ.get("GITHUB_OUTPUT"):
        with Path(output).open("a", encoding="utf-8") as file:
            file.write(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
