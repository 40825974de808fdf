"""The tables of a root: their live files, their logs, and what the runs vouch for."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from cardioclarity.errors import DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables import audit, checked, lineage, log_names, snapshot
from cardioclarity.tables.audit import Opened
from cardioclarity.tables.log_names import HINT
from cardioclarity.tables.schemas import SCHEMAS
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.verify.files import damaged_file, misnamed, read_file
from cardioclarity.verify.findings import Damage, Spares
from cardioclarity.vocabulary import Problem

Live = Mapping[str, tuple[LiveFile, ...]]
"""Table → its live files; a table whose log cannot be read is not in it."""

_NUMBERED: Final = re.compile(r"(.*/)(\d+)\.json")
_KINDS: Final = {
    "missing": Problem.MISSING,
    "gap": Problem.MISSING,
    "unreadable": Problem.UNREADABLE,
    "unknown_version": Problem.UNKNOWN_VERSION,
}
"""What an audit calls it → what is said of it; whatever else it finds contradicts itself."""


def live_files(opened: Opened) -> Live:
    """List the live files of the tables that could be opened; what is wrong with the others `check_contents` tells."""
    return {
        name: tuple(snapshot.live_files(table))
        for name, table in opened.items()
        if not isinstance(table, audit.Problem)
    }


def check_files(
    root: Storage, table: str, files: tuple[LiveFile, ...], *, chosen: Callable[[str], bool], spares: Spares
) -> Iterator[Damage]:
    """Check the live files of a table.

    Args:
        root: The deployment.
        table: Its name.
        files: Its live files; read from the log before the objects are listed, since a run writes them in the other order.
        chosen: Which of them are read byte by byte.
        spares: Counts the objects that the log does not show.

    Raises:
        StorageError: An object could not be read.
    """
    missing = {file.key: file for file in files}
    there: list[tuple[LiveFile, int]] = []
    for listed in root.list(f"tables/{table}/"):
        if listed.key in missing:
            there.append((missing.pop(listed.key), listed.size))
        elif "/_delta_log/" not in listed.key:
            spares.add("table files", listed.size)
        elif log_names.HALF_WRITTEN.fullmatch(log_names.name_of(listed.key)):
            spares.add("half-written commits", listed.size)
    yield from (damaged_file(root, file, Problem.MISSING) for file in missing.values())
    yield from filter(None, checked.ahead(partial(_check_file, root, chosen), there))


def _check_file(root: Storage, chosen: Callable[[str], bool], found: tuple[LiveFile, int]) -> Damage | None:
    file, size = found
    if chosen(file.key):
        read = read_file(root, file)
        return read if isinstance(read, Damage) else None
    return misnamed(root, file) or (None if size == file.size else damaged_file(root, file, Problem.SIZE))


def check_contents(root: Storage, opened: Opened, live: Live, *, read_data: bool) -> Iterator[Damage]:
    """Report what is wrong with the tables though their bytes are those that were written: gaps, doubled keys, columns.

    Args:
        root: The deployment.
        opened: Its tables.
        live: Their live files.
        read_data: Read every file too, once, and report those whose bytes are wrong.

    Raises:
        StorageError: The store did not answer.
    """
    by_key = {file.key: file for files in live.values() for file in files}
    wrong: list[Damage] = []

    def read(file: LiveFile) -> bytes | None:
        data = read_file(root, file)
        if isinstance(data, Damage):
            wrong.append(data)
            return None
        return data

    problems = audit.problems(root, opened=opened, read_data=read_data, read=read)
    yield from wrong
    for found in problems:
        if found.key in by_key:
            yield damaged_file(root, by_key[found.key], Problem.INCONSISTENT)
        else:
            yield _of_log(root, found.key, _KINDS.get(found.kind, Problem.INCONSISTENT))


def trained(root: Storage, files: Iterable[LiveFile]) -> set[str]:
    """Name the models of the runs; where their table is damaged, that is reported with the table."""
    try:
        rows = checked.stream(root, files, ["model_id"])
        return {model_id for _, part in rows for model_id in part["model_id"].to_pylist() if model_id}
    except DamageError:
        return set()


def check_logs(root: Storage, *, spares: Spares) -> Iterator[tuple[int, list[Damage]]]:
    """Hold commits, checkpoints and the champion's history against what the runs vouch for.

    What is younger than all that was vouched for is no damage: a run that was killed right before its end left it, and
    the next run vouches for it.

    Args:
        root: The deployment.
        spares: Counts what no run has vouched for yet.

    Yields:
        Number of objects and damage.

    Raises:
        StorageError: An object could not be read.
    """
    vouched = lineage.vouched(root)
    listed = {found.key: found.size for found in lineage.watched(root)}
    known = [key for key in listed if key in vouched.objects]
    damaged = [_of_lineage(key, problem) for key, problem in vouched.problems.items()]
    damaged += [_of_log(root, key, Problem.MISSING) for key in vouched.missing(listed)]
    damaged += filter(None, checked.ahead(partial(_check_log, root, vouched.objects), known))
    newest: dict[str, int] = {}
    for key in vouched.objects:
        if numbered := _NUMBERED.fullmatch(key):
            newest[numbered[1]] = max(newest.get(numbered[1], -1), int(numbered[2]))
    for key in listed.keys() - vouched.objects.keys():
        numbered = _NUMBERED.fullmatch(key)
        if numbered and int(numbered[2]) <= newest.get(numbered[1], -1):
            damaged.append(_of_log(root, key, Problem.UNVOUCHED))
        else:
            spares.add("commits not vouched for yet", listed[key])
    yield len(listed) + sum(1 for _ in root.list(f"{lineage.FOLDER}/")), damaged
    for table in SCHEMAS:
        yield _check_hint(root, f"tables/{table}/_delta_log/", listed)


def _check_log(root: Storage, vouched: Mapping[str, lineage.Entry], key: str) -> Damage | None:
    size, sha256 = vouched[key]
    try:
        data = root.fetch(key)
    except FileNotFoundError:
        return _of_log(root, key, Problem.MISSING)
    if (found := hashlib.sha256(data).hexdigest()) == sha256:
        return None
    problem = Problem.DIGEST if len(data) == size else Problem.SIZE
    return _of_log(root, key, problem, expected=sha256, found=found)


def _check_hint(root: Storage, folder: str, listed: Mapping[str, int]) -> tuple[int, list[Damage]]:
    """Check the one object of a log that is written over: it names the newest checkpoint, and Delta does without it."""
    try:
        hint = json.loads(root.fetch(folder + HINT))
        right = listed.get(f"{folder}{hint['version']:020d}.checkpoint.parquet") == hint["sizeInBytes"]
    except FileNotFoundError:
        return 0, []
    except (ValueError, KeyError, TypeError):
        right = False
    return 1, [] if right else [_of_log(root, folder + HINT, Problem.INCONSISTENT)]


def _of_log(root: Storage, key: str, problem: Problem, *, expected: str = "", found: str = "") -> Damage:
    copy = "copy it back from a backup, or from an earlier version of the object where the bucket keeps them"
    if key.startswith("models/"):
        affects = "the choice of the champion"
        mend = (
            f"{copy}; or say again which model is used with: cardioclarity models --root {root.name} --use ID, then run:"
            f" cardioclarity verify --root {root.name} --repair, which takes out what a later entry supersedes"
        )
    else:
        affects = f"table {key.split('/')[1]}"
        mend = f"{copy}; without one, build a new root with: cardioclarity convert ARCHIVE --root NEW"
    if key.endswith(HINT):
        mend = "delete it: Delta finds its checkpoint without this hint, and --repair does so"
    if problem == Problem.UNKNOWN_VERSION:
        mend = (
            f"a newer CardioClarity wrote it, or other software: update, then cardioclarity verify --root {root.name}"
        )
    return Damage(key=key, problem=problem, affects=(affects,), mend=mend, expected=expected, found=found)


def _of_lineage(key: str, problem: str) -> Damage:
    known = {"is missing": Problem.MISSING, "differs from the digest in its name": Problem.DIGEST}
    return Damage(
        key=key,
        problem=known.get(problem, Problem.INCONSISTENT),
        affects=("what its run vouched for",),
        mend="copy it back from a backup; the runs after it vouch for the same objects",
    )
