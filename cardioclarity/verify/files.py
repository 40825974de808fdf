"""One live file of a table: its bytes held against its name and the log."""

import hashlib

from cardioclarity.storage import Storage
from cardioclarity.tables.snapshot import LiveFile
from cardioclarity.tables.staging import folder_of, sha256_of
from cardioclarity.verify.findings import Damage
from cardioclarity.vocabulary import Problem


def misnamed(root: Storage, file: LiveFile) -> Damage | None:
    """Tell whether the log has a file in a place where this software would not have put it."""
    is_ours = sha256_of(file.path) is not None and file.path.startswith(folder_of(file.table, file.partition))
    return None if is_ours else damaged_file(root, file, Problem.INCONSISTENT)


def read_file(root: Storage, file: LiveFile) -> bytes | Damage:
    """Fetch a file; where its bytes are not those that its name and the log tell, say so instead.

    Raises:
        StorageError: It could not be read.
    """
    if damage := misnamed(root, file):
        return damage
    try:
        data = root.fetch(file.key)
    except FileNotFoundError:
        return damaged_file(root, file, Problem.MISSING)
    if (sha256 := hashlib.sha256(data).hexdigest()) != sha256_of(file.path):
        problem = Problem.DIGEST if len(data) == file.size else Problem.SIZE
        return damaged_file(root, file, problem, found=sha256)
    return data if len(data) == file.size else damaged_file(root, file, Problem.INCONSISTENT)


def damaged_file(root: Storage, file: LiveFile, problem: Problem, *, found: str = "") -> Damage:
    """Say what a damaged live file touches and how it is mended."""
    model_id, segment_id = file.partition.get("model_id"), file.partition.get("segment_id")
    what = f"table {file.table}"
    what += f" of model {model_id}" if model_id else ""
    what += f", segment {segment_id}" if segment_id else ""
    again = "" if model_id else f", then cardioclarity convert ARCHIVE --root {root.name}"
    again = "; the lines of these runs are lost" if file.table == "runs" else again
    return Damage(
        key=file.key,
        problem=problem,
        affects=(what,),
        mend=f"take it out and make its rows again with: cardioclarity verify --root {root.name} --read-data --repair{again}",
        segment_id=segment_id,
        model_id=model_id,
        table=file.table,
        expected="" if problem == Problem.INCONSISTENT else sha256_of(file.path) or "",
        found=found,
    )
