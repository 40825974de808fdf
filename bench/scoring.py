"""S7, S8: fit on the development half of MIT-BIH, and what each member costs per beat, on the fastest device there is."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from bench import mitbih
from bench.rounds import timed
from bench.rows import Row
from cardioclarity import training
from cardioclarity.cohort import Candidate, normals, split_by_patient
from cardioclarity.detectors.autoencoder import FittedAutoencoder
from cardioclarity.detectors.fitting import best_device
from cardioclarity.detectors.readings import Read
from cardioclarity.evaluation.fits import beat_detectors, candidate
from cardioclarity.examples import Recipe, prepare

_LEAST_S = 0.3  # of each timing; what is quicker is repeated
_ROUNDS = 3
_FIT_S = {"cuda": 30.0, "mps": 600.0, "cpu": 600.0}
_BEATS = {"cuda": 100_000, "mps": 100_000, "cpu": 20_000}
"""So many are scored on the device: a day of one heart; on a CPU its inputs would fill 0.5 GB."""


def measure(*, seed: int = 0) -> list[Row]:
    """Read and prepare the records, fit, and score those of the patients held out."""
    recipe = Recipe()
    headers = [header for header in mitbih.headers(mitbih.archive()) if header.stem in mitbih.DEVELOPMENT]
    records = [(header.stem, mitbih.read(header)) for header in headers]
    return measured([candidate(name, record, prepare(record, recipe)) for name, record in records], recipe, seed=seed)


def measured(candidates: Sequence[Candidate], recipe: Recipe, *, seed: int) -> list[Row]:
    """Fit all beat detectors as one model and time them.

    Args:
        candidates: Records of ten patients or more.
        recipe: How they were prepared.
        seed: Shares the patients out and draws the weights.
    """
    groups = {name: normals(members) for name, members in split_by_patient(candidates, seed=seed)[0].items()}
    device, where = best_device(), _where()
    model, _, fit_s = timed(
        lambda: training.fit(
            groups["fitting"],
            groups["stopping"],
            groups["calibrating"],
            recipe=recipe,
            detectors=beat_detectors(),
            seed=seed,
        )
    )
    rows = [Row(goal="S7", what=f"fit all members ({where})", unit="s", ours=fit_s, at_most=_FIT_S[device.type])]
    records = groups["calibrating"].records
    n_beats = sum(len(one.rpeaks) for one in records)
    scorers: dict[str, Callable[..., object]] = {name: member.score for name, member in model.members.items()}
    for name, score in (scorers | {"all": model.evidence}).items():
        each_s = _fastest(partial(_for_each, score, records)) / n_beats
        rows.append(Row(goal="S8", what=f"score a beat: {name} ({where})", unit="µs", ours=1e6 * each_s))
    for name, member in model.members.items():
        if isinstance(member, FittedAutoencoder):
            rows.append(_against_bare(name, member, _repeated(member.read(records[0]), _BEATS[device.type])))
    return rows


def _against_bare(name: str, member: FittedAutoencoder, read: Read) -> Row:
    """Compare scores of what lies on the device with the network alone, whose inputs are laid out for it."""
    inputs = list(member.batches(read))

    def bare() -> None:
        with torch.inference_mode():
            _for_each(lambda batch: member.network.strangeness(*batch), inputs)

    ours, peer = (len(read.beats) / _fastest(call) for call in (partial(member.strangeness, read), bare))
    what = f"score beats on the device, against the bare network: {name} ({_where()})"
    return Row(goal="S8", what=what, unit="beats/s", ours=ours, peer=peer, ratio=ours / peer, at_least=0.5)


def _repeated(read: Read, n_beats: int) -> Read:
    """Make a day of the beats of one record: as much to read as a day has, not one record that stays in the cache."""
    n_times = -(-n_beats // len(read.beats))
    places = [
        torch.cat([place + time * len(source) for time in range(n_times)])[:n_beats]
        for source, place in zip(read.sources, read.places, strict=True)
    ]
    sources = [torch.cat([source] * n_times) for source in read.sources]
    return Read(beats=np.resize(read.beats, n_beats), sources=tuple(sources), places=tuple(places))


def _for_each(call: Callable[..., object], items: Sequence[object]) -> None:
    for item in items:
        call(item)


def _fastest(call: Callable[[], object]) -> float:
    """Time a call: the best mean of some rounds, after one that is not counted."""
    call()
    n_calls = 1
    while (once := _seconds(call, n_calls)) < _LEAST_S:
        n_calls = max(2 * n_calls, int(_LEAST_S / max(once, 1e-6) * n_calls))
    return min(_seconds(call, n_calls) for _ in range(_ROUNDS)) / n_calls


def _seconds(call: Callable[[], object], n_calls: int) -> float:
    _wait()
    start = time.perf_counter()
    for _ in range(n_calls):
        call()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    device = best_device().type
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def _where() -> str:
    device = best_device().type
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name() if device == "cuda" else device
