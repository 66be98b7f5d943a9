"""Shards of a run as their runs leave them, for the tests of what is done with them."""

from clusterproof.builds import Expectation
from clusterproof.reports.plan import plan as plans
from clusterproof.reports.plan.plan import make_plan
from clusterproof.reports.plan.priority import Candidate
from clusterproof.reports.results.results import PLANNED, Cell
from tests.samples import write_run


def name(cell: Cell) -> str:
    return f"{cell.scenario}[{cell.build.name}]"


def candidate(cell: Cell) -> Candidate:
    return Candidate(name(cell), cell.key, cell.build, Expectation.UNKNOWN, cell.seconds, None, 0)


def write_shards(folder, cells, count, **changes):
    """Write ``cells`` as ``count`` shards that were run; return their folders."""
    shares = [cells[index::count] for index in range(count)]
    names = [[name(cell) for cell in share] for share in shares]
    folders = []
    for index, share in enumerate(shares, start=1):
        run = f"run-{index}"
        mine = [cell.model_copy(update={"run": run, **changes.get(run, {})}) for cell in share]
        path = write_run(folder / run, mine)
        plan = make_plan(
            [candidate(cell) for cell in cells],
            {name(cell): "last time" for cell in cells},
            [],
            names,
            index=index,
            workers=1,
            results=0,
        )
        plans.write(path, plan)
        (path / PLANNED).write_text("".join(f"{one}\n" for one in names[index - 1]))
        for cell in mine:
            if cell.evidence:
                (path / cell.evidence).mkdir(parents=True)
                (path / cell.evidence / "transcript.jsonl").write_text(f"{name(cell)}\n")
        folders.append(path)
    return folders
