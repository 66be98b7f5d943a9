"""``python -m tools.bench``: how long the lab takes for what it does."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from clusterproof.lab.builds import catalogue
from clusterproof.lab.commands import LabHost, Mirror, console, one_line_errors
from clusterproof.lab.host import sweeping
from tools.bench import bench as benchmark

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    build: Annotated[str, typer.Option("--build", help="The build to measure with.")] = "incus@6.0.4",
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=50)] = 5,
    cold: Annotated[bool, typer.Option("--cold", help="Also bake all builds from nothing.")] = False,
    vm: Annotated[
        bool, typer.Option("--vm", help="Measure virtual machines and Ceph instead of containers.")
    ] = False,
    lab_host: LabHost = None,
    mirror: Mirror = None,
) -> None:
    """Measure the lab and print a table; nothing is judged."""
    with one_line_errors():
        everything = catalogue.load()
        entry = everything.get(build)
        with sweeping.borrowed(lab_host) as host:
            if vm:
                rows = benchmark.measure_vms(host, entry, repeats, mirror=mirror)
            else:
                rows = benchmark.measure(host, entry, everything.select(), repeats, cold=cold, mirror=mirror)
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "median", "lowest", "highest", "runs", "target"):
        table.add_column(heading, justify="left" if heading in ("what", "target") else "right")
    for row in rows:
        table.add_row(row.what, *(f"{x:.2f} {row.unit}" for x in row.figures), str(row.count), row.target)
    console.print(table, highlight=False)


app()
