"""The shards of a run, joined to one run: results, plan and evidence in one folder."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from clusterproof.reports.plan import plan as plans
from clusterproof.reports.plan.plan import Shard
from clusterproof.reports.results.crashes import join_judgements
from clusterproof.reports.results.kept_evidence import folder_of
from clusterproof.reports.results.results import (
    CRASH_WATCH,
    EVIDENCE,
    FILENAME,
    PLANNED,
    Cell,
    not_selected,
    scan,
    write_not_selected,
    write_planned,
)

_KINDS = (stat.S_IFREG, stat.S_IFDIR)


class JoinError(ValueError):
    """The runs are not parts of one run; the message names them and the way out."""


def join(folders: Sequence[Path], out: Path) -> list[str]:
    """Make ``out`` the folder of one run that has what the runs in ``folders`` have.

    Evidence is linked where the file system can, else copied; of a cell that several of the runs have,
    it lies beneath the name of the run that it is of. Returns which shards are missing, one line each.
    Their cells are planned all the same, as are those of lines that cannot be read, which are left
    out: the gate misses both.

    Raises JoinError where the runs are shards of different cuts or of different suites, where one is
    there twice, or where ``out`` is taken; OSError where something cannot be read or written. What is
    there is then as it was before.
    """
    if out.exists():
        raise JoinError(f'"{out}" is there already; name another folder, or remove it first')
    counts = Counter(map(_name, folders))
    if twice := [name for name in counts if counts[name] > 1]:
        raise JoinError(f'"{twice[0]}" is the name of two of these runs; name each run once')
    shards = {folder: shard for folder in folders if (shard := _shard(folder))}
    problems = list(_check(shards, folders))
    planned = _planned(shards, folders)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        write_planned(unfinished, planned)
        _keep_not_selected(folders, unfinished, planned)
        _copy(folders, unfinished, one_suite=bool(shards))
        unfinished.rename(out)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return problems


def _copy(folders: Iterable[Path], out: Path, *, one_suite: bool) -> None:
    """Copy results and evidence of ``folders``."""
    cells: list[Cell] = []
    judgements: list[Cell] = []
    suites: dict[str, Path] = {}
    taken: dict[str, Path] = {}
    for folder in folders:
        for cell in scan(folder / FILENAME):
            if isinstance(cell, str):
                continue
            suites.setdefault(cell.suite, folder)
            kept = cell.evidence and _keep(folder, cell, cell.evidence, out, taken)
            moved = cell.model_copy(update={"evidence": kept})
            (judgements if cell.scenario == CRASH_WATCH else cells).append(moved)
    if one_suite and len(suites) > 1:
        first, second, *_ = suites.values()
        raise JoinError(
            f'"{first}" and "{second}" ran different suites; run the shards from one revision of the checkout'
        )
    # What each shard says of the daemons of a build is one statement of the whole run.
    cells += join_judgements(judgements)
    (out / FILENAME).write_text("".join(f"{cell.line()}\n" for cell in cells), encoding="utf-8")


def _keep_not_selected(folders: Sequence[Path], out: Path, planned: Iterable[str]) -> None:
    """Keep which cells none of the runs was to have, where all of them say so."""
    known = [not_selected(folder) for folder in folders]
    if all(one is not None for one in known):
        has = set(planned)
        everything = {name: why for one in known if one for name, why in one.items()}
        write_not_selected(out, {name: why for name, why in everything.items() if name not in has})


def _name(folder: Path) -> str:
    return folder.resolve().name  # what "latest" leads to


def _keep(folder: Path, cell: Cell, evidence: str, out: Path, taken: dict[str, Path]) -> str:
    """Bring the ``evidence`` of ``cell``, of the run in ``folder``, to ``out``; return where it is there."""
    mine = taken.setdefault(evidence, folder) == folder
    kept = evidence if mine else f"{EVIDENCE}/{_name(folder)}{evidence.removeprefix(EVIDENCE)}"
    found = folder_of(folder, cell)
    # Repeats within a run share their evidence.
    if found and not (out / kept).exists():
        shutil.copytree(found, out / kept, ignore=_links_and_special_files, copy_function=_link_file)
    return kept


def _links_and_special_files(folder: str, names: list[str]) -> list[str]:
    """Name what is not brought along: another run's evidence could be written to where a link leads."""
    return [name for name in names if stat.S_IFMT(os.lstat(Path(folder, name)).st_mode) not in _KINDS]


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def _shard(folder: Path) -> Shard | None:
    try:
        found = plans.read(folder)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]["msg"]
        raise JoinError(
            f'"{folder / plans.FILENAME}" cannot be understood ({detail}); run that shard again'
        ) from None
    return found.shard if found else None


def _check(shards: dict[Path, Shard], folders: Sequence[Path]) -> Iterator[str]:
    """Yield which shards are missing. Raises JoinError where those there are do not fit together."""
    if not shards:
        return
    (first, shard), *_ = shards.items()
    there: dict[int, Path] = {}
    for folder in folders:
        other = shards.get(folder)
        if other is None:
            raise JoinError(f'"{first}" is shard {shard}, "{folder}" is no shard; join them apart')
        if other.cut != shard.cut:
            raise JoinError(
                f'"{first}" is shard {shard}, "{folder}" is shard {other}: they are of different cuts; '
                "begin all shards of a run with the same selection, history and suite"
            )
        if other.index in there:
            raise JoinError(
                f'"{there[other.index]}" and "{folder}" are both shard {other}; name one of them'
            )
        there[other.index] = folder
    missing = [str(index) for index in range(1, shard.count + 1) if index not in there]
    if missing:
        yield f"of the {shard.count} shards of cut {shard.cut} these are missing: {', '.join(missing)}"


def _planned(shards: dict[Path, Shard], folders: Iterable[Path]) -> list[str]:
    for shard in shards.values():
        return [name for share in shard.shares for name in share]
    files = [folder / PLANNED for folder in folders]
    lists = [file.read_text(encoding="utf-8").splitlines() for file in files if file.exists()]
    return [name for names in lists for name in names]
