"""The model folder: saved whole, loaded only when every byte is right; and which model is champion."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import safetensors.numpy

from cardioclarity import ensemble
from cardioclarity.card import INTENDED_USE, card
from cardioclarity.detectors.protocol import Arrays
from cardioclarity.ensemble import Model
from cardioclarity.errors import CardioClarityError, ConflictError, DamageError, NotFoundError
from cardioclarity.storage import Listed, Storage

log = logging.getLogger(__name__)

FORMAT_VERSION: Final = 1

MODEL_JSON: Final = "model.json"
"""The description of a model, written last: the id is the beginning of its sha256, and it names the other files."""

RECORD_IDS: Final = "record_ids"
"""Name of the training fact that lists the records: the first `ID_PREFIX` digits of the id of each."""

ID_PREFIX: Final = 12

_WEIGHTS, _CARD = "weights.safetensors", "CARD.md"
_MODEL: Final = re.compile(r"models/([0-9a-f]{32})/.+")
_CHAMPION: Final = re.compile(r"models/champion/(\d{8})\.json")
_CROWN_ROUNDS: Final = 20
_LISTED: Final = ("detectors", "records", "patients", "normal_beats", "seed")


def save(root: Storage, model: Model, *, facts: Mapping[str, object]) -> str:
    """Write a model folder; its description comes last, so that a crash leaves nothing that loads.

    Args:
        root: The deployment.
        model: What was fitted.
        facts: What the card tells of the training, JSON-like, with the names that `card` knows.

    Returns:
        The model's id: the first 32 hexadecimal digits of the sha256 of `model.json`, which holds the sha256 of each
        other file.

    Raises:
        StorageError: The store refused.
    """
    arrays = model.arrays()
    weights = _weights(arrays)
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "intended_use": INTENDED_USE,
        "model": model.settings(),
        "training": _finite(facts),
        "parameters": _parameters(arrays),
        "files": {_WEIGHTS: _digest(weights)},
    }
    page = card(json.loads(_canonical(document))).encode()
    document["files"][_CARD] = _digest(page)
    description = _canonical(document)
    model_id = _digest(description)[:32]
    for name, data in ((_WEIGHTS, weights), (_CARD, page), (MODEL_JSON, description)):
        try:
            root.put_new(_key(model_id, name), data)
        except ConflictError:  # the id says which bytes belong here, so what is there is damaged
            log.warning("%s: %s was damaged and is written anew", root.name, _key(model_id, name))
            root.replace(_key(model_id, name), data)
    log.info("model %s saved in %s", model_id, root.name)
    return model_id


def load(root: Storage, model_id: str) -> Model:
    """Load a model; the last few stay in memory.

    Every byte is checked against the id before it is read as anything, and the bytes that were checked are parsed.

    Raises:
        NotFoundError: No such model; the message lists those that there are.
        DamageError: A file is missing or differs from its digest.
        CardioClarityError: A newer version wrote it.
        StorageError: The store did not answer.
    """
    return _load(root, model_id)


@lru_cache(maxsize=4)
def _load(root: Storage, model_id: str) -> Model:
    description = _description(root, model_id)
    digests = described_files(model_id, description)
    files = {name: _checked(root, model_id, name, digest) for name, digest in digests.items()}
    return ensemble.load(json.loads(description)["model"], safetensors.numpy.load(files[_WEIGHTS]))


def trained_on(root: Storage, model_id: str) -> frozenset[str]:
    """Tell which records a model has seen in any step of its training.

    Returns:
        The first `ID_PREFIX` digits of their ids.

    Raises:
        NotFoundError: No such model, or it was saved by a version that did not write this down.
        DamageError: Its description is damaged.
    """
    ids = json.loads(_description(root, model_id))["training"].get(RECORD_IDS)
    if ids is None:
        raise NotFoundError(
            f"model {model_id} does not say which records it was trained on; train again to evaluate it"
        )
    return frozenset(ids)


def description(root: Storage, model_id: str) -> dict[str, Any]:
    """Read what `model.json` says of a model.

    Raises:
        NotFoundError: No such model.
        DamageError: It is damaged.
        CardioClarityError: A newer version wrote it.
    """
    data = _description(root, model_id)
    described_files(model_id, data)
    told: dict[str, Any] = json.loads(data)
    return told


def described_files(model_id: str, description: bytes) -> dict[str, str]:
    """Read from a `model.json` which other files the model has.

    Args:
        model_id: The model.
        description: The bytes of its `model.json`.

    Returns:
        Name → sha256.

    Raises:
        DamageError: They are not the bytes that the id names.
        CardioClarityError: A newer version wrote them.
    """
    if _digest(description)[:32] != model_id:
        raise DamageError(f"model.json of model {model_id} is damaged; restore it or train again")
    document = json.loads(description)
    if document["format_version"] > FORMAT_VERSION:
        raise CardioClarityError(
            f"model {model_id} has format {document['format_version']}, newer than the {FORMAT_VERSION} that this "
            f"version of cardioclarity reads; upgrade cardioclarity, or name an older model with --model"
        )
    return dict(document["files"])


def champion(root: Storage) -> str | None:
    """Name the model that is used where none is named: the last one crowned that still exists; None without any."""
    for _, entry in sorted(_crowned(root), key=lambda numbered: numbered[0], reverse=True):
        try:
            root.fetch(_key(entry["model_id"], MODEL_JSON))
        except FileNotFoundError:
            continue
        return str(entry["model_id"])
    return None


def crown(root: Storage, model_id: str, *, chosen_by: str, run_id: str) -> int:
    """Make a model the champion; the earlier ones stay in the history. Doing it again in the same run changes nothing.

    Args:
        root: The deployment.
        model_id: A model of it.
        chosen_by: Who or what chose it, such as ``train``.
        run_id: The run that chose it.

    Returns:
        The number of the entry in the history.

    Raises:
        NotFoundError: No such model.
        DamageError: Its description is damaged.
        ConflictError: Others kept crowning theirs first.
    """
    digest = _digest(_description(root, model_id))
    for _ in range(_CROWN_ROUNDS):
        for number, entry in _crowned(root):
            if (entry["model_id"], entry.get("run_id")) == (model_id, run_id):
                return number
        number = max(champion_files(root), default=0) + 1
        entry = {
            "number": number,
            "model_id": model_id,
            "model_digest": digest,
            "previous": champion(root),
            "chosen_by": chosen_by,
            "run_id": run_id,
        }
        try:
            root.put_new(_champion_key(number), _canonical(entry | {"sha256": _digest(_canonical(entry))}))
        except ConflictError:
            continue  # another run took the number: look at the history again
        return number
    raise ConflictError(f"{root.name}: {_CROWN_ROUNDS} other runs crowned a champion first; run it again")


def history(root: Storage) -> dict[int, str | None]:
    """Give the champion's history: number → model; None where the entry cannot be read."""
    readable = {number: str(entry["model_id"]) for number, entry in _crowned(root)}
    return {number: readable.get(number) for number in champion_files(root)}


def champion_files(root: Storage) -> dict[int, Listed]:
    """List the files of the champion's history by number, whatever they hold."""
    numbered = ((champion_number(listed.key), listed) for listed in root.list("models/champion/"))
    return {number: listed for number, listed in numbered if number is not None}


def champion_number(key: str) -> int | None:
    """Read off a key which entry of the champion's history it is; None for another object."""
    found = _CHAMPION.fullmatch(key)
    return int(found[1]) if found else None


def model_of(key: str) -> str | None:
    """Name the model that an object belongs to, by its key alone; None for an object of somebody else's."""
    found = _MODEL.fullmatch(key)
    return found[1] if found else None


def list_models(root: Storage) -> list[dict[str, Any]]:
    """List the models of a root by id.

    Returns:
        Per model: `model_id`; `champion` and `damaged` as bool; `detectors`, `records`, `patients`, `normal_beats` and
        `seed`, None where the model does not tell.
    """
    chosen = champion(root)
    listed = []
    for model_id in _known(root):
        try:
            description, damaged = json.loads(_description(root, model_id)), False
        except DamageError:
            description, damaged = {}, True
        told = description.get("model", {}) | description.get("training", {})
        row = {"model_id": model_id, "champion": model_id == chosen, "damaged": damaged}
        listed.append(row | {name: told.get(name) for name in _LISTED})
    return listed


def _weights(arrays: Arrays) -> bytes:
    """Pack arrays of any layout; safetensors would store a transposed one in the order of its memory."""
    return safetensors.numpy.save({name: np.array(value, order="C") for name, value in arrays.items()})


def _parameters(arrays: Arrays) -> dict[str, int]:
    """Count the numbers that each member learned; an array is named ``member.<member>.<array>``."""
    sizes: dict[str, int] = {}
    for name, array in sorted(arrays.items()):
        kind, owner, _ = name.split(".", 2)
        if kind == "member" and array.dtype.kind == "f":
            sizes[owner] = sizes.get(owner, 0) + array.size
    return sizes


def _description(root: Storage, model_id: str) -> bytes:
    """Fetch `model.json` and check that it is the one that the id names."""
    known = _known(root)
    if model_id not in known:
        there = ", ".join(known) or "none; make one with: cardioclarity train"
        raise NotFoundError(f"{root.name} has no model {model_id[:40]!r}; there are: {there}")
    description = root.fetch(_key(model_id, MODEL_JSON))
    if _digest(description)[:32] != model_id:
        raise DamageError(f"{root.name}: model.json of model {model_id} is damaged; restore it or train again")
    return description


def _checked(root: Storage, model_id: str, name: str, digest: str) -> bytes:
    try:
        data = root.fetch(_key(model_id, name))
    except FileNotFoundError:
        raise DamageError(f"{root.name}: {name} of model {model_id} is lost; restore it or train again") from None
    if _digest(data) != digest:
        raise DamageError(f"{root.name}: {name} of model {model_id} is damaged; restore it or train again")
    return data


def _known(root: Storage) -> list[str]:
    named = ((model_of(listed.key), listed.key) for listed in root.list("models/"))
    return [model_id for model_id, key in named if model_id and key == _key(model_id, MODEL_JSON)]


def _crowned(root: Storage) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the entries of the champion's history that can be read, oldest first."""
    for number in champion_files(root):
        try:
            entry = champion_entry(root.fetch(_champion_key(number)), number)
        except FileNotFoundError:
            entry = None
        if entry is not None:
            yield number, entry
        else:
            log.warning("%s: %s cannot be read and is passed over", root.name, _champion_key(number))


def champion_entry(data: bytes, number: int) -> dict[str, Any] | None:
    """Read an entry of the champion's history; None where its bytes are not those that were written under its number.

    The digest stands inside the entry: in its name, it would let two runs claim one number.
    """
    try:
        entry = json.loads(data)
        digest = _digest(_canonical({name: value for name, value in entry.items() if name != "sha256"}))
    except (ValueError, AttributeError):
        return None
    named = re.fullmatch(r"[0-9a-f]{32}", str(entry.get("model_id")))
    return entry if named and (entry.get("number"), entry.get("sha256")) == (number, digest) else None


def _key(model_id: str, name: str) -> str:
    return f"models/{model_id}/{name}"


def _champion_key(number: int) -> str:
    return f"models/champion/{number:08d}.json"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain).encode()


def _plain(value: object) -> object:
    """Turn numpy's numbers and arrays into Python's."""
    assert isinstance(value, (np.generic, np.ndarray)), type(value)
    return value.tolist()


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON has no type
    """Replace what is no number by null: in a card it was not measured."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
