"""The model folders and the history of the champion: id → model.json → files."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from cardioclarity import models as store
from cardioclarity.errors import CardioClarityError, DamageError
from cardioclarity.storage import Storage
from cardioclarity.tables.checked import ahead
from cardioclarity.verify.findings import Damage, Spares
from cardioclarity.vocabulary import Problem

_FOLDER: Final = "models/"
_MODEL: Final = re.compile(r"[0-9a-f]{32}")


def check_models(
    root: Storage, *, used: Collection[str], trained: Collection[str], chosen: Callable[[str], bool], spares: Spares
) -> Iterator[tuple[int, list[Damage]]]:
    """Check every model folder.

    Args:
        root: The deployment.
        used: Models that scores name.
        trained: Models that the runs name, which gc keeps. One that is gone with all its files a person has removed.
        chosen: Which models' files are read byte by byte; `model.json` always is.
        spares: Counts what belongs to no model, such as what a training run that broke off has staged.

    Yields:
        Number of objects and damage, per model and for the champion's history.

    Raises:
        StorageError: An object could not be read.
    """
    folders: dict[str, dict[str, int]] = {}
    champions: dict[str, int] = {}
    for listed in root.list(_FOLDER):
        model_id, _, name = listed.key.removeprefix(_FOLDER).partition("/")
        if name and _MODEL.fullmatch(model_id):
            folders.setdefault(model_id, {})[name] = listed.size
        elif model_id == "champion" and name:
            champions[listed.key] = listed.size
        else:
            spares.add("models", listed.size)
    crowned = dict(ahead(lambda key: (key, _crowned(root, key)), champions))
    named = {*used, *filter(None, crowned.values())}
    for model_id in sorted({*folders, *named}):
        there = folders.get(model_id, {})
        if model_id not in {*named, *trained} and store.MODEL_JSON not in there:
            for size in there.values():
                spares.add("models", size)
        else:
            n_objects, damaged = _check(root, model_id, there, read_data=chosen(model_id), spares=spares)
            if model_id not in {*named, *trained}:  # nobody misses a part of what nobody needs
                damaged = [damage for damage in damaged if damage.problem != Problem.MISSING]
            yield n_objects, damaged
    yield len(champions), [_bad_entry(root, key, Problem.UNREADABLE) for key, of in crowned.items() if of is None]


def _check(
    root: Storage, model_id: str, there: Mapping[str, int], *, read_data: bool, spares: Spares
) -> tuple[int, list[Damage]]:
    """Check one folder; an object of it that its description does not name is spare."""
    try:
        description = root.fetch(f"{_FOLDER}{model_id}/{store.MODEL_JSON}")
    except FileNotFoundError:
        return len(there), [_damage(root, model_id, store.MODEL_JSON, Problem.MISSING)]
    try:
        files = store.described_files(model_id, description)
    except CardioClarityError as error:
        problem = Problem.DIGEST if isinstance(error, DamageError) else Problem.UNKNOWN_VERSION
        found = hashlib.sha256(description).hexdigest()[:32]
        return len(there), [_damage(root, model_id, store.MODEL_JSON, problem, expected=model_id, found=found)]
    damaged: list[Damage] = []
    for name, sha256 in files.items():
        data = _fetch(root, model_id, name) if read_data and name in there else None
        if name not in there or (read_data and data is None):
            damaged.append(_damage(root, model_id, name, Problem.MISSING))
        elif data is not None and (actual := hashlib.sha256(data).hexdigest()) != sha256:
            damaged.append(_damage(root, model_id, name, Problem.DIGEST, expected=sha256, found=actual))
    for name in there.keys() - {store.MODEL_JSON, *files}:
        spares.add("models", there[name])
    return 1 + len(files), damaged


def _fetch(root: Storage, model_id: str, name: str) -> bytes | None:
    try:
        return root.fetch(f"{_FOLDER}{model_id}/{name}")
    except FileNotFoundError:
        return None


def _crowned(root: Storage, key: str) -> str | None:
    """Name the model of an entry of the champion's history; None where it cannot be read."""
    try:
        number = key.removeprefix(f"{_FOLDER}champion/").removesuffix(".json")
        entry = store.champion_entry(root.fetch(key), int(number)) if number.isdecimal() else None
    except FileNotFoundError:
        return None
    return None if entry is None else str(entry["model_id"])


def _damage(
    root: Storage, model_id: str, name: str, problem: Problem, *, expected: str = "", found: str = ""
) -> Damage:
    mend = (
        f"copy it back from a backup, or make another model with: cardioclarity train --root {root.name} --champion; or"
        f" take an older one with: cardioclarity models --root {root.name} --use ID"
    )
    if problem == Problem.UNKNOWN_VERSION:
        mend = (
            f"a newer CardioClarity wrote it: update, or choose another with: cardioclarity models --root {root.name}"
        )
    return Damage(
        key=f"{_FOLDER}{model_id}/{name}",
        problem=problem,
        affects=(f"model {model_id}",),
        mend=mend,
        model_id=model_id,
        expected=expected,
        found=found,
    )


def _bad_entry(root: Storage, key: str, problem: Problem) -> Damage:
    mend = (
        f"copy it back from a backup; until then it is passed over, and where no later entry is sound, say which model is"
        f" used with: cardioclarity models --root {root.name} --use ID; then run: cardioclarity verify --root {root.name}"
        " --repair, which takes out what a later entry supersedes"
    )
    return Damage(key=key, problem=problem, affects=("the choice of the champion",), mend=mend)
