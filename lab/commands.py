"""``clusterproof``: doctor, builds, bake, up, shell, down, sweep, prune and clear."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clusterproof.exit_status import ExitStatus
from clusterproof.lab import doctor, prune
from clusterproof.lab.baking import bake as baking
from clusterproof.lab.baking import rehearsal, sideload
from clusterproof.lab.builds import catalogue, snap_store
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.cluster import golden
from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.cluster.existing_cluster import ExistingCluster
from clusterproof.lab.core import runs
from clusterproof.lab.core.columns import columns, show
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.kept import Kept, keep
from clusterproof.lab.core.progress import ProgressBoard
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host import inventory, objects, sweeping
from clusterproof.lab.host.endpoint import find
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import MARK, PROJECT
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import server_vm, ssh_access
from clusterproof.lab.substrates.container import Containers
from clusterproof.lab.substrates.server_vm import ServerVMs

app = typer.Typer(
    help="Throwaway clusters of real LXD and Incus builds.", no_args_is_help=True, add_completion=False
)
console = Console()
# Signs that a person sees first, in colours where there are some.
SIGNS = (("ok", "green"), ("MISSING", "bold red"), ("note", "yellow"))

LabHost = Annotated[
    str | None,
    typer.Option("--lab-host", help="The LXD or Incus server to use: an https URL or a socket's path."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Mirror = Annotated[
    str | None, typer.Option("--mirror", help="The Debian mirror to bake from; by default this computer's own.")
]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error of the lab as one line and exit with its status."""
    try:
        yield
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.INCOMPLETE) from error


@app.command("doctor")
def show_doctor(lab_host: LabHost = None, *, as_json: AsJson = False) -> None:
    """Check what this computer can run, what it cannot, and what would change that."""
    with one_line_errors():
        findings = doctor.examine(lab_host)
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        lines = columns([(one.sign, one.subject, one.found) for one in findings])
        for finding, line in zip(findings, lines, strict=True):
            show(console, [line], SIGNS)
            if finding.remedy:
                show(console, [f"         -> {finding.remedy}"], [("         ->", "bold")])
    if not all(finding.ok for finding in findings if finding.vital):
        raise typer.Exit(ExitStatus.INCOMPLETE)


@app.command()
def builds(*, as_json: AsJson = False) -> None:
    """List the builds that can be chosen, and what is installed by those that were baked."""
    with one_line_errors():
        entries = catalogue.load().builds
        images = {entry.name: baking.baked(entry) for entry in entries}
    if as_json:
        typer.echo(json.dumps([_facts(entry, images[entry.name]) for entry in entries], indent=1))
        return
    # What is there first; the channels that nobody baked are many.
    ready = [entry for entry in entries if images[entry.name]]
    others = [entry for entry in entries if not images[entry.name]]
    for heading, some in (("baked:", ready), ("not baked yet:", others)):
        if some:
            show(console, [heading], [(heading, "bold")])
            show(console, [f"  {line}" for line in columns([_row(entry, images[entry.name]) for entry in some])])


@app.command()
def bake(
    names: Annotated[list[str] | None, typer.Argument(metavar="[BUILD]...", help="All by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Make the images again.")] = False,
    lab_host: LabHost = None,
    mirror: Mirror = None,
) -> None:
    """Make the images of builds; existing images are kept."""
    with one_line_errors():
        entries = snap_store.settle(catalogue.load().select(names or []))
        with sweeping.borrowed(lab_host) as host, ProgressBoard(console) as progress:
            images = baking.bake_all(entries, host, progress, force=force, mirror=mirror)
    failed = [name for name, image in images.items() if isinstance(image, LabError)]
    if failed:
        print(f"error: not baked: {', '.join(failed)}; the log above says why", file=sys.stderr)
        raise typer.Exit(ExitStatus.INCOMPLETE)


@app.command()
def rehearse(
    names: Annotated[list[str] | None, typer.Argument(metavar="[BUILD]...", help="All by default.")] = None,
    mirror: Mirror = None,
) -> None:
    """Make snaps of LXD from Debian's packages, laid out as the real one, to try without the snap store."""
    with one_line_errors():
        rehearsals = {
            build.name: (build, packaged)
            for build in catalogue.load().builds
            if build.source.first_boot and (packaged := build.source.base_build)
        }
        for name in names or ():
            if name not in rehearsals:
                raise UsageError(f'"{name}" is none of {", ".join(rehearsals)}')
        made = {}
        with ProgressBoard(console) as progress:
            for name in names or rehearsals:
                say = functools.partial(progress, name)
                made[name] = rehearsal.make(*rehearsals[name], baking.folder(), say, mirror)
    for name, files in made.items():
        console.print(f"{name}: {files[-1]}", markup=False, highlight=False, soft_wrap=True)
    chosen = " ".join(f"--build {name}" for name in made)
    console.print(f"run scenarios on them: clusterproof qualify {chosen}", highlight=False, soft_wrap=True)


@app.command()
def up(
    build: Annotated[
        str | None, typer.Option("--build", help="The build to run, such as incus@7.0.2.")
    ] = None,
    sideloaded: Annotated[
        str | None,
        typer.Option("--sideload", metavar="BUILD=PATH", help="Your own build instead: docs/builds.md."),
    ] = None,
    members: Annotated[int, typer.Option("--members", min=1, max=16, help="How many members.")] = 3,
    vm: Annotated[bool, typer.Option("--vm", help="Make members VMs instead of containers.")] = False,
    unjoined: Annotated[
        bool, typer.Option("--unjoined", help="Boot members only: in no cluster, daemons not started.")
    ] = False,
    lab_host: LabHost = None,
    mirror: Mirror = None,
) -> None:
    """Make a cluster to work with; it stays until ``down``."""
    with one_line_errors():
        entry = _chosen(build, sideloaded, mirror, lab_host)
    with one_line_errors(), sweeping.borrowed(lab_host) as host:
        with ProgressBoard(console) as progress:
            image = baking.bake(entry, host, progress, mirror=mirror)
            if vm:
                image = baking.bake_vm(entry, image, host, progress, mirror=mirror)
            progress("cluster", f"making {members} members")
            cluster = _made(host, image, members, vm=vm, formed=not unjoined)
            if not (cluster.formed or unjoined):
                progress("cluster", "forming")
                cluster.form()
            progress("cluster", "booted, unjoined" if unjoined else "all members Online")
        kept = keep(host.run, image.build.name)
        console.print(f"cluster {kept.name}: {image.build.product} {image.build.version}", highlight=False)
        for member in cluster.members:
            console.print(f"  {member.name}  {member.machine.endpoint}", highlight=False)
        show(console, kept.how_to())


@app.command()
def shell(
    member: Annotated[str, typer.Argument(help="The member's name, such as m1.")],
    command: Annotated[
        list[str] | None, typer.Argument(help="By default a shell; one with options goes behind --.")
    ] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="By default the only one.")] = None,
    lab_host: LabHost = None,
) -> None:
    """Enter a member of a cluster that ``up`` left, or run a command there."""
    with one_line_errors():
        run = _entered(cluster)
        kept = Kept.of(run)
        host = Host(find(lab_host), run, Transcript())
        vms = ssh_access.ssh_commands(run)
        instances = {
            instance["name"].rpartition("-")[2]: instance["name"]
            for instance in host.instances()
            if instance["config"].get(f"{MARK}.run") == run.id
            and (not kept.instances or kept.stays(instance["name"]))
        }
        if member in vms:
            argv = [*vms[member], *([shlex.join(command)] if command else [])]
            os.execvp("ssh", argv)  # noqa: S606 - the shell takes this process's place
        if member not in instances:
            names = ", ".join(sorted({*instances, *vms})) or "none"
            raise UsageError(f'cluster {run.id} has no member "{member}" (members: {names})')
        found = instances[member]
        client = shutil.which(host.client)
        if client is None or not host.local:
            raise LabError(
                f"entering a member needs the command {host.client} on the lab host; run there: "
                f"{host.client} exec --project {PROJECT} {found} -- bash"
            )
        environment = os.environ | _client_environment(host)
        argv = [client, "exec", "--project", PROJECT, found, "--", *(command or ["bash"])]
        os.execve(client, argv, environment)  # noqa: S606 - the shell takes this process's place


@app.command()
def down(
    cluster: Annotated[
        str | None, typer.Argument(help="The cluster's name, or the four digits that end it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every cluster that was kept.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Also what others made, without a question.")] = False,
    lab_host: LabHost = None,
) -> None:
    """Remove a cluster that ``up`` or ``--keep`` left; without a name the only one, if you made it.

    What another user made, or you from another checkout, is removed by its name, or with --yes.
    """
    with one_line_errors():
        for kept in _chosen_to_remove(cluster, everything=everything, yes=yes):
            count = sweeping.release(Host(find(lab_host), kept.run, Transcript()))
            console.print(f"cluster {kept.name}: {count} instances and volumes deleted", highlight=False)


@app.command()
def sweep(lab_host: LabHost = None) -> None:
    """Remove what dead runs left, and the lab itself from its host where no run uses it."""
    with one_line_errors():
        run = runs.Run.new()
        run.hold()
        host = Host(find(lab_host), run, Transcript())
        swept = sweeping.sweep(host) if host.is_prepared() else []
        if sweeping.is_idle(host):
            objects.remove(host)
            swept.append(f"the lab's images, bridge, pool and project on {host.describe()}")
        else:
            swept.append("other runs are alive: their members, and what these need, stay")
        sweeping.release(host)
        swept += inventory.clear()
        for line in swept:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("prune")
def prune_lab(
    keep: Annotated[int, typer.Option("--keep", min=0, help="How many old ones of each stay.")] = prune.KEEP,
    out: Annotated[Path, typer.Option("--out", help="The folder of runs.")] = Path("out"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove it instead of only listing it.")] = False,
) -> None:
    """Remove old images, golden clusters and evidence; images of today's catalogue and all results stay."""
    with one_line_errors():
        if yes:
            prune.check_idle()
        found = prune.surplus(keep, out)
        sizes = [one.size for one in found]
        for one, size in zip(found, sizes, strict=True):
            if yes:
                one.remove()
            console.print(f"{size >> 20:>8} MiB  {one.kind}: {one.what}", markup=False, highlight=False)
    end = "were freed" if yes else "can be freed; --yes does it" if found else "can be freed"
    console.print(f"{sum(sizes) >> 20:>8} MiB  {end}", markup=False, highlight=False)


@app.command()
def clear(
    cluster: Annotated[Path, typer.Option("--cluster", help="Its TOML file: docs/existing-cluster.md.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it instead of only listing it.")] = False,
) -> None:
    """Remove from an existing cluster what dead runs of this computer left there."""
    with one_line_errors():
        existing = ExistingCluster.connect(cluster, catalogue.load(), runs.Run.new())
        lines = existing.clear() if yes else [f"would remove project {name}" for name in existing.leftovers()]
    for line in lines or ["dead runs of this computer left nothing"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _chosen(
    build: str | None, sideloaded: str | None, mirror: str | None, lab_host: str | None
) -> CatalogueBuild:
    """Return the one build that was asked for, a sideloaded one with its image made."""
    if (build is None) == (sideloaded is None):
        raise UsageError("it takes one build; name it: --build incus@7.0.2 or --sideload incus@7.0.2=PATH")
    known = catalogue.load()
    if sideloaded is None:
        (entry,) = snap_store.settle([known.get(build or "")])
        return entry
    with ProgressBoard(console) as progress:
        _, (entry,) = sideload.add(
            [sideloaded], known, baking.folder(), lambda text: progress("sideload", text), mirror, lab_host
        )
    return entry


def _made(host: Host, image: Image, count: int, *, vm: bool, formed: bool) -> Cluster:
    """Return ``count`` members with ``image``; those that are QEMU VMs are joined already where ``formed``."""
    transcript = Transcript(host.run.folder / "transcript.jsonl")
    if vm and server_vm.why_not(host) is not None:
        with golden.members(
            host, transcript, image, count, formed=formed, failed=lambda _: None
        ) as cluster:
            return cluster
    cluster = Cluster(host, transcript, ServerVMs(host) if vm else Containers(host))
    cluster.make_members([image] * count)
    return cluster


def _chosen_to_remove(name: str | None, *, everything: bool, yes: bool) -> list[Kept]:
    """Return which clusters are to be removed. Raises UsageError where none is, or where it is not agreed to."""
    known = Kept.every()
    if name is not None and everything:
        raise UsageError("--all and a name exclude each other; name one cluster, or say --all")
    if name is not None:
        return [_named(name, known)]
    if not known:
        raise UsageError("there is no cluster to remove; clusterproof up makes one")
    show(console, [f"  {one}" for one in known])
    if len(known) > 1 and not everything:
        raise UsageError("there are several; name one, or say --all")
    if (foreign := [one for one in known if not one.mine]) and not yes:
        others = ", ".join(one.name for one in foreign)
        if not sys.stdin.isatty() or not typer.confirm(f"not made by you from this checkout: {others}. Remove?"):
            raise UsageError(f"not made by you from this checkout: {others}; name it, or add --yes")
    return known


def _entered(name: str | None) -> runs.Run:
    """Return the run whose cluster is to be entered: one that is kept, or one that is running now."""
    if name is None:
        known = Kept.every()
        if len(known) == 1:
            return known[0].run
        raise UsageError(f"name one cluster with --cluster: {_list(known)}")
    alive = [Kept.of(run) for run in runs.Run.known() if run.alive()]
    return _named(name, alive).run


def _named(name: str, known: list[Kept]) -> Kept:
    """Return the one that is called ``name``. Raises UsageError."""
    found = [one for one in known if one.is_called(name)]
    if len(found) == 1:
        return found[0]
    raise UsageError(f'"{name}" is not the name of one cluster; there are: {_list(known)}')


def _list(known: list[Kept]) -> str:
    return ", ".join(one.name for one in known) or "none; make one with clusterproof up"


def _row(entry: CatalogueBuild, image: Image | None) -> tuple[str, ...]:
    if image is None:
        return entry.name, entry.track, entry.source.label
    build = image.build
    facts = f"{build.api_extensions} API extensions, schema {build.schema_version}"
    return entry.name, entry.track, build.version, facts


def _facts(entry: CatalogueBuild, image: Image | None) -> dict[str, object]:
    """Return a build for programs."""
    return {
        "name": entry.name,
        "product": entry.product,
        "track": entry.track,
        "source": entry.source.label,
        "baked": image is not None,
        "version": image.build.version if image else None,
        "api_extensions": image.build.api_extensions if image else None,
        "schema": image.build.schema_version if image else None,
    }


def _client_environment(host: Host) -> dict[str, str]:
    """Return the variables with which the host's client connects to this server."""
    folder = os.path.dirname(host.endpoint.url)  # noqa: PTH120 - text, also of a URL
    name = "INCUS" if host.client == "incus" else "LXD"
    return {f"{name}_DIR": folder, f"{name}_SOCKET": host.endpoint.url}


