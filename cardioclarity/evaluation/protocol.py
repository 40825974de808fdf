"""A protocol: who is trained on, who is tested, and what is measured; read from a file of splits and checked."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Final

from cardioclarity.errors import NotFoundError, UsageError

KINDS: Final = ("beats", "rhythm", "rate", "rpeaks", "noise", "series", "records")

_KEYS: Final = ("name", "kind", "title", "source", "known_overlap", "without")
_SIDES: Final = ("train", "test", "calibrate")
_TABLES: Final = {
    **dict.fromkeys(_SIDES, ("records", "folds")),
    "folds": ("n", "records"),
    "patients": (),
    "exclude": ("records",),
    "labels": ("table", "statements", "record", "normal", "abnormal", "train", "test", "anomalous_of"),
    "noise": ("kinds", "also", "snr_db", "first_s", "period_s"),
}
"""Table → its keys; those of `patients` are records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One fit and one test.

    Attributes:
        train: Records that the fit may see; they are shared out to fitting, early stopping and calibration.
        calibrate: Records that calibrate, where the protocol says which.
        test: Records that are tested.
    """

    train: tuple[str, ...]
    calibrate: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What a file of splits says.

    Attributes:
        name: Name of the protocol.
        kind: A word of `KINDS`: what is measured.
        title: What it is, in a line.
        source: Where it is defined.
        train: Records to train on; empty where there are folds.
        test: Records to test.
        calibrate: Records to calibrate with; empty: some of those to train on.
        n_folds: Number of folds; 0 where there are none.
        folded: Records that take turns; empty: all that the archive holds.
        patients: Record → patient, where a patient has several records; every other record is a patient.
        exclude: Records that are left out wherever they stand.
        without: Records whose absence is a subset of its own.
        known_overlap: Patients that stand on both sides all the same, since a public split is so.
        side_folds: Side → folds of the labels' table, where the labels say who is on which side.
        labels: Where the labels of a database stand.
        noise: What is mixed in.
    """

    name: str
    kind: str
    title: str = ""
    source: str = ""
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    calibrate: tuple[str, ...] = ()
    n_folds: int = 0
    folded: tuple[str, ...] = ()
    patients: Mapping[str, str] = field(default_factory=dict)
    exclude: frozenset[str] = frozenset()
    without: tuple[str, ...] = ()
    known_overlap: tuple[str, ...] = ()
    side_folds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    noise: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, above all a patient on both sides."""
        if self.kind not in KINDS:
            raise UsageError(f"protocol {self.name}: kind {self.kind!r} does not exist; there are: {', '.join(KINDS)}")
        if self.n_folds == 1 or self.n_folds < 0:
            raise UsageError(f"protocol {self.name}: folds.n is {self.n_folds}; give 2 or more")
        if self.kind == "beats" and not (self.n_folds or (self.train and self.test)):
            raise UsageError(f"protocol {self.name}: name records in [train] and [test], or give [folds]")
        if self.kind == "noise" and not self.noise.get("kinds"):
            raise UsageError(f"protocol {self.name}: name the noise records with kinds in [noise]")
        if self.n_folds and (self.train or self.test):
            raise UsageError(f"protocol {self.name}: [folds] and [train] or [test] exclude each other")
        sides = {side: getattr(self, side) for side in _SIDES}
        for side, records in (*sides.items(), ("folds", self.folded)):
            if len(set(records)) < len(records):
                twice = sorted(name for name in set(records) if records.count(name) > 1)
                raise UsageError(f"protocol {self.name}: [{side}] names a record twice: {', '.join(twice)}")
        self._check_sides({side: {self.patient(name) for name in names} for side, names in sides.items()})

    def _check_sides(self, patients: Mapping[str, set[str]]) -> None:
        shared = (patients["train"] | patients["calibrate"]) & patients["test"]
        shared |= patients["train"] & patients["calibrate"]
        if refused := sorted(shared - set(self.known_overlap)):
            raise UsageError(
                f"protocol {self.name}: {len(refused)} patients stand on both sides: {', '.join(refused[:10])}; a test on a "
                "patient who was trained on proves nothing: take them out of one side"
            )

    def patient(self, name: str) -> str:
        """Name the patient of a record."""
        return self.patients.get(name, name)

    def wanted(self) -> tuple[str, ...]:
        """Name the records that the protocol cannot do without; none where it takes what is there."""
        return tuple(dict.fromkeys((*self.train, *self.calibrate, *self.test, *self.folded)))

    def splits(self, names: Sequence[str]) -> list[Split]:
        """Say what is fitted and what is tested, fold by fold.

        Args:
            names: The records that are there and can be used; others take no part.

        Returns:
            One split, or one per fold that has a record to test; a patient is in one fold only.

        Raises:
            UsageError: One patient cannot take turns.
        """
        there = set(names) or set(self.wanted())

        def kept(side: Sequence[str]) -> tuple[str, ...]:
            return tuple(name for name in side if name in there)

        if not self.n_folds:
            return [Split(train=kept(self.train), calibrate=kept(self.calibrate), test=kept(self.test))]
        records = kept(self.folded) if self.folded else tuple(names)
        patients = list(dict.fromkeys(map(self.patient, records)))
        if len(patients) < 2:
            raise UsageError(
                f"protocol {self.name}: folds need two patients or more to take turns, and {len(patients)} can be used;"
                " give an archive with more, or --model"
            )
        fold_of = {patient: at % self.n_folds for at, patient in enumerate(patients)}
        parts = [[name for name in records if fold_of[self.patient(name)] == fold] for fold in range(self.n_folds)]
        return [
            Split(
                train=tuple(name for name in records if name not in set(part)),
                calibrate=(),
                test=tuple(part),
            )
            for part in parts
            if part
        ]

    def split_in_words(self) -> str:
        """Say who is trained on and who is tested, in a sentence."""
        overlap = "".join(
            f"; {patient} are one patient and stand on both sides, as the public split has it"
            for patient in self.known_overlap
        )
        if self.n_folds:
            return f"{self.n_folds} folds of patients, each tested by a fit on the others{overlap}"
        if self.side_folds:
            sides = (f"{side} on folds {', '.join(map(str, folds))}" for side, folds in self.side_folds.items())
            return f"{', '.join(sides)} of the database's own{overlap}"
        if self.labels.get("train"):
            more = ", ".join(self.labels.get("anomalous_of", ()))
            also = f" and on the anomalous series of {more}, which no fit has seen" if more else ""
            return f"train on {', '.join(self.labels['train'])}, test on {', '.join(self.labels['test'])}{also}"
        if not self.test:
            return "every record of the archive is tested, nothing is fitted"
        return f"train on {len(self.train)} records, test on {len(self.test)} others{overlap}"


def names() -> list[str]:
    """List the protocols that come with the software."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def load(name_or_file: str) -> Protocol:
    """Read a protocol.

    Args:
        name_or_file: Name of one that comes with the software, or path of a TOML file.

    Raises:
        NotFoundError: There is none of that name, and no such file.
        UsageError: The file is no protocol: the message names the place.
    """
    if name_or_file in names():
        return parse((_folder() / f"{name_or_file}.toml").read_text("utf-8"), where=name_or_file)
    path = Path(name_or_file)
    if path.is_dir():
        raise UsageError(f"protocol {name_or_file} is a folder; give the TOML file in it")
    try:
        return parse(path.read_text("utf-8"), where=name_or_file)
    except UnicodeDecodeError:
        raise UsageError(f"protocol {name_or_file} is not UTF-8; save it as UTF-8") from None
    except OSError:
        near = get_close_matches(name_or_file, names(), n=1)
        meant = f"; did you mean {near[0]}" if near else ""
        raise NotFoundError(
            f"there is no protocol {name_or_file!r} and no such file; there are: {', '.join(names())}{meant}"
        ) from None


def parse(text: str, *, where: str) -> Protocol:
    """Read the text of a protocol.

    Args:
        text: TOML.
        where: What to call it in messages.

    Raises:
        UsageError: It is no TOML, or holds what no protocol has.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"protocol {where} is no TOML: {error}") from None
    document = {"name": Path(where).stem} | document
    _check_keys(document, (*_KEYS, *_TABLES), where)
    sections: dict[str, dict[str, Any]] = {}
    for table, keys in _TABLES.items():
        section = document.get(table, {})
        if not isinstance(section, dict):
            raise UsageError(f"protocol {where}: {table} must be a table, written [{table}]")
        if keys:
            _check_keys(section, keys, f"{where}, [{table}]")
        sections[table] = section
    read = _Reader(where)
    return Protocol(
        name=read.text(document, "name"),
        kind=read.text(document, "kind"),
        title=read.text(document, "title"),
        source=read.text(document, "source"),
        known_overlap=read.texts(document, "known_overlap"),
        without=read.texts(document, "without"),
        train=read.texts(sections["train"], "records"),
        test=read.texts(sections["test"], "records"),
        calibrate=read.texts(sections["calibrate"], "records"),
        n_folds=read.number(sections["folds"], "n", 0),
        folded=read.texts(sections["folds"], "records"),
        patients={name: str(patient) for name, patient in sections["patients"].items()},
        exclude=frozenset(read.texts(sections["exclude"], "records")),
        side_folds={side: found for side in _SIDES if (found := read.numbers(sections[side], "folds"))},
        labels=read.labels(sections["labels"]),
        noise=read.noise(sections["noise"]),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes values out of a parsed file, each of the type it must have."""

    where: str

    def text(self, section: Mapping[str, Any], key: str) -> str:
        return str(self._typed(section, key, "", lambda value: isinstance(value, str), "a text"))

    def texts(self, section: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = self._typed(section, key, [], _all(str), 'a list of texts, such as ["100", "101"]')
        return tuple(value)

    def number(self, section: Mapping[str, Any], key: str, default: int) -> int:
        return int(self._typed(section, key, default, lambda value: type(value) is int, "a whole number"))

    def numbers(self, section: Mapping[str, Any], key: str) -> tuple[int, ...]:
        return tuple(self._typed(section, key, [], _all(int), "a list of whole numbers"))

    def labels(self, section: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
        return {
            key: self.text(section, key) if key in {"table", "statements", "record"} else self.texts(section, key)
            for key in section
        }

    def noise(self, section: Mapping[str, Any]) -> dict[str, Any]:
        lists = {key: self.texts(section, key) for key in ("kinds", "also") if key in section}
        numbers = {
            key: float(self._typed(section, key, 1, _is_positive, "a positive number"))
            for key in ("first_s", "period_s")
            if key in section
        }
        ratios = self._typed(section, "snr_db", [6, 0], _are_numbers, "a list of numbers, such as [6, 0]")
        return {**lists, **numbers, "snr_db": tuple(map(float, ratios))} if section else {}

    def _typed(
        self, section: Mapping[str, Any], key: str, default: object, fits: Callable[[Any], bool], what: str
    ) -> Any:  # noqa: ANN401 - checked by `fits`
        value = section.get(key, default)
        if not fits(value):
            raise UsageError(f"protocol {self.where}: {key} must be {what}")
        return value


def _all(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(item) is kind for item in value)


def _is_positive(value: object) -> bool:
    return type(value) in {int, float} and float(str(value)) > 0


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) in {int, float} for item in value)


def _check_keys(section: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    for key in _unknown(section, allowed):
        raise UsageError(f"protocol {where}: there is no key {key!r}; there are: {', '.join(allowed)}")


def _unknown(section: Mapping[str, Any], allowed: Sequence[str]) -> Iterator[str]:
    return (key for key in section if key not in allowed)


def _folder() -> Any:  # noqa: ANN401 - a Traversable, whose name moved between versions of Python
    return resources.files("cardioclarity.evaluation") / "protocols"
