"""Series: beats that come cut out and scaled, one per line behind its class, such as ECG5000; a smoke test.

Each detector sees the series in its own window: the short one holds it as it is, the long one stretched. There are no RR
intervals and nothing is near, so the members of the population view are fitted; whoever else is asked for by name and
abstains from all is left out.
"""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.detectors import REGISTRY, detector
from cardioclarity.detectors.protocol import Fitted, Normals
from cardioclarity.errors import NotFoundError, UsageError
from cardioclarity.evaluation.fits import Plan, beat_detectors, combined
from cardioclarity.evaluation.protocol import Protocol
from cardioclarity.evaluation.ranked import Items, ranked
from cardioclarity.evaluation.results import Figures, Found, curve_of
from cardioclarity.evaluation.subjects import locate
from cardioclarity.examples import QUALITY_FEATURES, RHYTHM_FEATURES, Examples, Recipe
from cardioclarity.storage import Storage
from cardioclarity.views import POPULATION, RECORD_VIEW, Standard

SUFFIXES: Final = (".txt", ".tsv", ".csv", ".txt.gz", ".tsv.gz", ".csv.gz")
_STOPPING: Final = 0.2  # of the normal series, for early stopping: there is but one patient
_ONE: Final = "one patient"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Labelled series of equal length.

    Attributes:
        classes: (series,) class of each.
        values: (series, sample) float32.
    """

    classes: NDArray[np.str_]
    values: NDArray[np.float32] = field(repr=False)


def measure(protocol: Protocol, archives: Sequence[Storage], plan: Plan) -> Found:
    """Fit on the normal series of one file, and rank all series of the other.

    Args:
        protocol: Names the files and the normal classes.
        archives: Where they lie.
        plan: What is fitted.

    Returns:
        AUROC of every detector and combination, without an interval: all is of one patient.

    Raises:
        NotFoundError: A file is missing, or holds series of one kind only.
        UsageError: The protocol does not name the files and the normal classes.
    """
    if missing := [name for name in ("train", "test", "normal") if not protocol.labels.get(name)]:
        raise UsageError(f"protocol {protocol.name}: [labels] lacks {', '.join(missing)}")
    train, test = (_read_all(archives, protocol.labels[side]) for side in ("train", "test"))
    normal = list(protocol.labels["normal"])
    if added := protocol.labels.get("anomalous_of"):
        more = _read_all(archives, added)
        odd = ~np.isin(more.classes, normal)
        test = Series(
            classes=np.concatenate([test.classes, more.classes[odd]]),
            values=np.concatenate([test.values, more.values[odd]]),
        )
    positive = ~np.isin(test.classes, normal)
    if not 0 < positive.sum() < len(positive):
        raise NotFoundError(
            f"protocol {protocol.name}: the {len(positive)} tested series are all of one kind; for the first half "
            "of the test file, which is sorted by class, use ecg5000-part"
        )
    recipe = Recipe(n_leads=1) if plan.model is None else plan.model.recipe
    tested = as_examples(test.values, recipe)
    learned = train.values[np.isin(train.classes, normal)]
    scores = [_scores(members, standards, tested) for members, standards in _members(plan, learned, recipe)]
    kept = [name for name in scores[0] if np.isfinite(scores[0][name]).any()]
    items = {
        name: Items(
            scores=tuple(np.nan_to_num(one[name], nan=-np.inf) for one in scores),
            positive=positive,
            patients=(_ONE,) * len(positive),
        )
        for name in kept
    }
    everything = np.ones(len(positive), bool)
    abstained = [name for name in scores[0] if name not in kept]
    return Found(
        metrics=tuple(ranked(name, "beat_auroc", "all", items[name], everything) for name in kept),
        n_patients=1,
        n_records=1,
        notes=(
            (
                f"fitted on {len(learned)} normal series, tested on {len(positive)}, {int(positive.sum())} of them anomalous; "
                "all of one patient, so no interval and no evidence for others"
            ),
            *([f"abstained from all series: {', '.join(abstained)}"] if abstained else []),
        ),
        figures=Figures(curves={name: curve_of(items[name].ranking()) for name in kept}),
    )


def _read_all(archives: Sequence[Storage], names: Sequence[str]) -> Series:
    parts = [read(archives, name) for name in names]
    return Series(
        classes=np.concatenate([part.classes for part in parts]), values=np.concatenate([part.values for part in parts])
    )


def read(archives: Sequence[Storage], name: str) -> Series:
    """Read the file whose name begins so: a line per series, its class first, between blanks, tabs or commas.

    Raises:
        NotFoundError: There is no such file, or what it holds are no series of equal length.
    """
    found = locate(archives, lambda listed: listed.startswith(name) and listed.endswith(SUFFIXES))
    where = " and ".join(archive.name for archive in archives)
    if not found:
        raise NotFoundError(f"{where}: the file {name} is missing, with one of the suffixes {', '.join(SUFFIXES)}")
    archive, key = min(found, key=lambda one: one[1])
    try:
        data = archive.fetch_checked(key)
        text = (gzip.decompress(data) if key.endswith(".gz") else data).decode("ascii")
        table = np.array([line.replace(",", " ").split() for line in text.splitlines() if line.strip()], np.float32)
        classes = np.array([f"{value:g}" for value in table[:, 0]])
    except (ValueError, OSError, EOFError, IndexError):
        raise NotFoundError(
            f"{where}: the file {name} holds no series of equal length, one per line behind its class"
        ) from None
    if table.shape[1] < 3:
        raise NotFoundError(f"{where}: the series of the file {name} have {table.shape[1] - 1} samples; they need two")
    return Series(classes=classes, values=table[:, 1:])


def as_examples(values: NDArray[np.float32], recipe: Recipe) -> Examples:
    """Put series where detectors look for beats; what a record has beside them is unknown."""
    n = len(values)
    starts = np.zeros(1, np.int64)
    return Examples(
        record_id="series",
        rate_hz=recipe.beat_rate_hz,
        n_samples=n * recipe.beat_samples,
        leads=("ECG",),
        amplitude_mv=np.ones(1, np.float32),
        rpeaks=np.arange(n, dtype=np.int64) * recipe.beat_samples,
        rr_s=np.full(n, np.nan, np.float32),
        late=np.ones(n, bool),
        beats=_stretched(values, recipe.beat_samples)[:, None],
        long=_stretched(values, recipe.long_samples)[:, None],
        whole=np.ones(n, bool),
        window_start=starts,
        quality=np.zeros((1, 1, len(QUALITY_FEATURES)), np.float32),
        window_peaks=np.array([n], np.int32),
        sinusoidal=np.zeros(1, np.float32),
        rhythm=np.full((1, len(RHYTHM_FEATURES)), np.nan, np.float32),
        rate_bpm=np.full(1, np.nan, np.float32),
        adapted=False,
    )


def _stretched(values: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Give every series so many samples, by lines between its own."""
    if values.shape[1] == n_samples:
        return values.copy()
    at = np.linspace(0, values.shape[1] - 1, n_samples)
    left = np.minimum(at.astype(np.int64), values.shape[1] - 2)
    share = (at - left).astype(np.float32)
    stretched: NDArray[np.float32] = values[:, left] * (1 - share) + values[:, left + 1] * share
    return stretched


def _members(
    plan: Plan, learned: NDArray[np.float32], recipe: Recipe
) -> list[tuple[Mapping[str, Fitted], Mapping[str, Standard]]]:
    """Fit the detectors once per seed; or take those of the model."""
    if plan.model is not None:
        return [
            (
                {name: plan.model.members[name] for name in beat_detectors() if name in plan.model.members},
                plan.model.standards,
            )
        ]
    if len(learned) < 2:
        raise NotFoundError(f"only {len(learned)} normal series to fit on")
    names = plan.detectors or tuple(name for name in beat_detectors() if REGISTRY[name].view == POPULATION)
    return [_fitted(names, learned, recipe, seed) for seed in plan.seeds]


def _fitted(
    names: Sequence[str], learned: NDArray[np.float32], recipe: Recipe, seed: int
) -> tuple[Mapping[str, Fitted], Mapping[str, Standard]]:
    order = np.random.default_rng(seed).permutation(len(learned))
    n_stopping = max(1, round(_STOPPING * len(learned)))
    stopping, fitting = (_normals(learned[part], recipe) for part in (order[:n_stopping], order[n_stopping:]))
    members = {name: detector(name).fit(fitting, held_out=stopping, seed=seed) for name in names}
    return members, {name: Standard.fit(one, fitting) for name, one in members.items() if name != RECORD_VIEW}


def _normals(values: NDArray[np.float32], recipe: Recipe) -> Normals:
    examples = as_examples(values, recipe)
    return Normals(
        records=(examples,), patients=(_ONE,), beats=(np.ones(len(values), bool),), windows=(np.ones(1, bool),)
    )


def _scores(
    members: Mapping[str, Fitted], standards: Mapping[str, Standard], tested: Examples
) -> dict[str, NDArray[np.float32]]:
    found = {name: member.score(tested) for name, member in members.items()}
    return found | combined(found, standards)
