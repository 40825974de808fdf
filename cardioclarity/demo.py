"""The demo: the whole road on a synthetic archive whose truth is known, or on the user's own records."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cardioclarity import models, parallel, references
from cardioclarity.config import ConvertConfig, ParallelConfig, ReportConfig, ScoreConfig, StorageOptions, TrainConfig
from cardioclarity.convert import CONVERT
from cardioclarity.errors import ExitCode
from cardioclarity.events import Evidence
from cardioclarity.evidence import stored_evidence
from cardioclarity.metrics import auroc
from cardioclarity.record import Annotations
from cardioclarity.report import report
from cardioclarity.score import SCORE
from cardioclarity.storage import Storage, open_storage
from cardioclarity.synthetic import ArchiveTruth, Episode, RecordTruth, write_archive
from cardioclarity.tables import catalog
from cardioclarity.train import TRAIN
from cardioclarity.vocabulary import BEAT_CLASSES, EventLabel, Head, State
from cardioclarity.windows import window_ends
from cardioclarity.work import Summary, U, Verb, drive

C = TypeVar("C")
O = TypeVar("O")  # noqa: E741
Say = Callable[[str], object]

RATE_EPISODES = {
    "pause": EventLabel.PAUSE,
    "tachycardia": EventLabel.TACHYCARDIA,
    "bradycardia": EventLabel.BRADYCARDIA,
}
RHYTHM_EPISODES = ("af", "bigeminy")
_ENVIRONMENT = StorageOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was found in the synthetic archive, against its truth.

    Attributes:
        beat_auroc: Over all matched beats of normal patients and patients with episodes, class S or V against N.
        beats_missed: Anomalous beats where no R peak was found.
        rate_episodes: Number of pauses, tachycardias and bradycardias; the borderline records, which have no readable
            beat, are left out.
        rate_episodes_found: Those with an event of their label that overlaps.
        rhythm_episodes: Number of stretches of AF and bigeminy.
        rhythm_episodes_found: Those with a rhythm event that overlaps.
        normal_hours: Hours of normal patients.
        normal_alarms: Beat, rhythm and rate events in them.
        stated_alarms_per_hour: What was asked for, beat and rhythm together.
        broken: Number of broken files.
        broken_quarantined: Those in quarantine for the right reason.
        flat_stretches: Number of flat lines.
        flat_called_normal: Those of which a window, flat by half or more, was called readable, or a record normal.
    """

    beat_auroc: float
    beats_missed: int
    rate_episodes: int
    rate_episodes_found: int
    rhythm_episodes: int
    rhythm_episodes_found: int
    normal_hours: float
    normal_alarms: int
    stated_alarms_per_hour: float
    broken: int
    broken_quarantined: int
    flat_stretches: int
    flat_called_normal: int

    def lines(self) -> list[str]:
        """Say it in sentences."""
        expected = self.stated_alarms_per_hour * self.normal_hours
        return [
            f"  beats: AUROC {self.beat_auroc:.3f} against the truth (premature beats against normal ones)",
            f"  rate: {self.rate_episodes_found} of {self.rate_episodes} pauses, tachycardias and bradycardias found",
            f"  rhythm: {self.rhythm_episodes_found} of {self.rhythm_episodes} stretches of AF and bigeminy found",
            f"  normal patients: {self.normal_alarms} alarms in {self.normal_hours:.1f} h, {expected:.1f} expected",
            f"  broken files: {self.broken_quarantined} of {self.broken} in quarantine with the right reason",
            f"  flat lines: {self.flat_called_normal} of {self.flat_stretches} called normal",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a demo ended.

    Attributes:
        summaries: One per verb that ran.
        page: Path of the page.
        comparison: Against the truth; None on the user's own records.
        seconds: Wall time.
        exit_code: For the shell; the broken files of the synthetic archive are meant to be set aside.
    """

    summaries: tuple[Summary, ...]
    page: str
    comparison: Comparison | None
    seconds: float
    exit_code: ExitCode

    def as_json(self) -> dict[str, object]:
        """Lay the outcome out as the command line's JSON object."""
        found = None if self.comparison is None else asdict(self.comparison)
        verbs = [summary.as_json() for summary in self.summaries]
        return {"verb": "demo", "path": self.page, "verbs": verbs, "found": found, "seconds": self.seconds}


def play(
    *,
    archive: str | None,
    root: str,
    seed: int,
    say: Say,
    archive_storage: StorageOptions = _ENVIRONMENT,
    root_storage: StorageOptions = _ENVIRONMENT,
) -> Outcome:
    """Run convert, train, score and report, and say what comes of it.

    Args:
        archive: The user's own records; a synthetic archive beside the root where None.
        root: Folder of the deployment; what an earlier demo did there is not done again.
        seed: Of the synthetic archive and of the model.
        say: Takes each line for people.
        archive_storage: How to reach the archive; a synthetic one lies beside the root and is reached like it.
        root_storage: How to reach the root.

    Returns:
        How it ended.
    """
    started = time.perf_counter()
    truth = None
    if archive is None:
        archive, archive_storage = f"{root.rstrip('/')}-archive-{seed}", root_storage
        truth = write_archive(open_storage(archive, archive_storage).put_new, seed=seed)
        say(f"archive: {len(truth.records)} synthetic records and {len(truth.broken)} broken ones in {archive}")
    storage = open_storage(root, root_storage)
    converting = ConvertConfig(archive=archive, root=root, archive_storage=archive_storage, root_storage=root_storage)
    converted = _run(CONVERT, converting, say)
    champion = models.champion(storage)
    if champion is None:
        trained = [_run(TRAIN, TrainConfig(root=root, root_storage=root_storage, seed=seed), say)]
    else:
        trained = []
        say(f"train: the root has a champion already, model {champion}")
    scored = _run(SCORE, ScoreConfig(root=root, root_storage=root_storage), say)
    page = report(ReportConfig(root=root, root_storage=root_storage))
    say(f"report: {page.path}")
    comparison = None
    if truth is not None:
        comparison = compare(storage, open_storage(archive, archive_storage), truth)
        say("found against the truth of the synthetic archive:")
        for line in comparison.lines():
            say(line)
    set_aside = truth is None and (converted.quarantined or scored.quarantined)
    seconds = round(time.perf_counter() - started, 1)
    say(f"done in {seconds} s; open {page.path}")
    return Outcome(
        summaries=(converted, *trained, scored),
        page=page.path,
        comparison=comparison,
        seconds=seconds,
        exit_code=ExitCode.QUARANTINED if set_aside else ExitCode.DONE,
    )


def _run(verb: Verb[C, U, O], config: C, say: Say) -> Summary:
    with parallel.mapper(ParallelConfig()) as mapper:
        summary = drive(verb, config, mapper)
    for line in summary.lines():
        say(line)
    return summary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scored:
    """One synthetic record with its truth and all that the tables say of it."""

    truth: RecordTruth
    evidence: Evidence
    events: list[dict[str, Any]]
    states: dict[str, str]


def compare(root: Storage, archive: Storage, truth: ArchiveTruth) -> Comparison:
    """Hold the tables of a root against the truth of the synthetic archive that was converted into it.

    Args:
        root: The root, scored by its champion.
        archive: The archive.
        truth: What is known about it.
    """
    scored = list(_scored(root, archive, truth))
    long_records = [item for item in scored if item.truth.group in {"normal", "episodes"}]
    normal = [item for item in scored if item.truth.group == "normal"]
    scores, positive, missed = _beats(long_records)
    ill = [item for item in scored if item.truth.group in {"episodes", "short"}]
    rate = [(item, episode) for item in ill for episode in item.truth.episodes if episode.kind in RATE_EPISODES]
    rhythm = [(item, episode) for item in ill for episode in item.truth.episodes if episode.kind in RHYTHM_EPISODES]
    flat = [(item, episode) for item in scored for episode in item.truth.episodes if episode.kind == "flat"]
    reasons = {row["source_key"]: row["reason"] for row in catalog.quarantine(root) if row["archive"] == archive.url}
    asked = ScoreConfig(root="")
    return Comparison(
        beat_auroc=round(auroc(scores, positive), 4),
        beats_missed=missed,
        rate_episodes=len(rate),
        rate_episodes_found=sum(
            _found(item, episode, Head.RATE, RATE_EPISODES[episode.kind]) for item, episode in rate
        ),
        rhythm_episodes=len(rhythm),
        rhythm_episodes_found=sum(_found(item, episode, Head.RHYTHM) for item, episode in rhythm),
        normal_hours=round(sum(item.evidence.n_samples / item.evidence.rate_hz for item in normal) / 3600, 3),
        normal_alarms=sum(event["kind"] != Head.QUALITY for item in normal for event in item.events),
        stated_alarms_per_hour=round(asked.alarms_per_hour + asked.rhythm_alarms_per_hour, 3),
        broken=len(truth.broken),
        broken_quarantined=sum(reasons.get(key) == reason for key, reason in truth.broken.items()),
        flat_stretches=len(flat),
        flat_called_normal=sum(_called_normal(item, episode) for item, episode in flat),
    )


def _scored(root: Storage, archive: Storage, truth: ArchiveTruth) -> Iterator[_Scored]:
    """Join truth and tables, once per record: a second delivery has no rows of its own."""
    model_id = models.champion(root)
    assert model_id is not None
    record_ids = {row.key.removesuffix(".hea"): row.record_id for row in catalog.known_sources(root, archive.url)}
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    states: dict[str, dict[str, str]] = defaultdict(dict)
    for event in catalog.events(root, model_id=model_id):
        events[event["record_id"]].append(event)
    for verdict in catalog.scores(root, model_id=model_id):
        states[verdict["record_id"]][verdict["head"]] = verdict["state"]
    evidence = {found.record_id: found for found in _evidence(root, model_id)}
    for name, record in truth.records.items():
        record_id = record_ids[name]
        if name not in truth.copies and record_id is not None:
            yield _Scored(
                truth=record, evidence=evidence[record_id], events=events[record_id], states=states[record_id]
            )


def _evidence(root: Storage, model_id: str) -> Iterator[Evidence]:
    current = catalog.current_scores(root, model_id)
    for segment in catalog.segments(root):
        run_id = current[segment.segment_id].evidence_run_id
        stored = stored_evidence(root, segment.segment_id, model_id=model_id, run_id=run_id)
        records = catalog.records(root, segment_ids=[segment.segment_id])
        yield from (evidence for _, evidence in stored.of_records(root, records, digest=segment.digest))


def _beats(scored: Sequence[_Scored]) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Pool the scores of the matched beats of class N, S and V; count the anomalous beats that were never found."""
    scores, positive, missed = [np.zeros(0)], [np.zeros(0, bool)], 0
    for item in scored:
        marks = Annotations(sample=item.truth.rpeaks, symbol=item.truth.symbols, aux=("",) * len(item.truth.symbols))
        classes = references.beat_classes(item.evidence.rpeaks, marks, rate_hz=item.evidence.rate_hz)
        usable = np.isin(classes, ["N", "S", "V"]) & np.isfinite(item.evidence.beat_score)
        scores.append(item.evidence.beat_score[usable].astype(np.float64))
        positive.append(classes[usable] != "N")
        anomalous = sum(BEAT_CLASSES.get(symbol) in {"S", "V"} for symbol in item.truth.symbols)
        missed += anomalous - int(np.isin(classes, ["S", "V"]).sum())
    return np.concatenate(scores), np.concatenate(positive), missed


def _found(item: _Scored, episode: Episode, head: Head, label: EventLabel | None = None) -> bool:
    """Tell whether an event of a head overlaps an episode, and has its label where one is given."""
    return any(
        event["kind"] == head
        and label in {None, event["label"]}
        and event["start_s"] < episode.end_s
        and episode.start_s < event["end_s"]
        for event in item.events
    )


def _called_normal(item: _Scored, episode: Episode) -> bool:
    """Tell whether a window that a flat line fills by half was called readable, or a mostly flat record normal."""
    end_s = item.evidence.n_samples / item.evidence.rate_hz
    mostly_flat = 2 * (episode.end_s - episode.start_s) > end_s
    readable = item.evidence.window_readable[_half_inside(item.evidence, episode)]
    return bool(readable.any()) or (mostly_flat and State.NORMAL in item.states.values())


def _half_inside(evidence: Evidence, episode: Episode) -> NDArray[np.bool_]:
    """(window,) bool: at least half of the window lies in the episode; true of some window where it lasts 15 s."""
    start = evidence.window_start
    end = window_ends(start, n_samples=evidence.n_samples)
    first, past = episode.start_s * evidence.rate_hz, episode.end_s * evidence.rate_hz
    inside: NDArray[np.bool_] = 2 * (np.minimum(end, past) - np.maximum(start, first)) >= end - start
    return inside
