"""What the page says, as plain data: whoever fills these nouns needs to know nothing of HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cardioclarity.explain import Explanation
from cardioclarity.measured import Measured, Realised
from cardioclarity.vocabulary import Head, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What chance alone would give at the alarm level of one head.

    Attributes:
        head: The head.
        alarms_per_hour: Its level: accepted false alarms per hour of normal ECG.
        hours: Hours on which the head could decide.
        found: Events that it found.
    """

    head: Head
    alarms_per_hour: float
    hours: float
    found: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRow:
    """One record of the page.

    Attributes:
        record_id: The record.
        duration_s: Its length.
        states: The answer of each head.
        heart_rate_bpm: Least, median and greatest rate; None where unknown.
        n_beats: Readable beats.
        readable: Share of the record that was readable, 0 to 1.
        n_events: Events of all heads.
    """

    record_id: str
    duration_s: float
    states: Mapping[Head, State]
    heart_rate_bpm: tuple[float | None, float | None, float | None]
    n_beats: int
    readable: float
    n_events: int

    @property
    def state(self) -> State:
        """The record in one word: it is only `normal` where rate, rhythm and beat could all be answered.

        A stretch of poor signal is an event of the quality head, but flags no record by itself.
        """
        heart = [self.states.get(head, State.UNSCORABLE) for head in (Head.RATE, Head.RHYTHM, Head.BEAT)]
        if State.ANOMALOUS in heart:
            return State.ANOMALOUS
        found = {*heart, self.states.get(Head.QUALITY, State.UNSCORABLE)} - {State.ANOMALOUS}
        return next(state for state in (State.UNREADABLE, State.UNSCORABLE, State.NORMAL) if state in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """The inputs that were set aside for one reason.

    Attributes:
        reason: A word of the closed vocabulary, or one that a newer version has added.
        count: How many.
        example: One message, without the name of its file.
    """

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """What a model says of itself.

    Attributes:
        detectors: Names of its detectors.
        patients: Step of the training → how many patients served it; empty where it does not tell.
        is_disjoint: The patients that calibrated it took part in no other step.
        hours: Of their recordings; None where it does not tell.
        warnings: Sentences of the training that a reader must know.
        measured: Head → how well it ranks; heads that were not measured are left out.
        realised: False alarms on patients left out of the calibration.
        failures: Sentences on where it is known to fail.
        not_measured: What nobody measured.
    """

    detectors: Sequence[str]
    patients: Mapping[str, int]
    is_disjoint: bool
    hours: float | None
    warnings: Sequence[str]
    measured: Mapping[str, Measured]
    realised: Sequence[Realised]
    failures: Sequence[str]
    not_measured: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageView:
    """All that the page says.

    Attributes:
        run: The row of the table `runs`.
        model: What the model of the run says of itself; None where its description cannot be read.
        n_archives: Number of archives that the root's records came from; their names may name people.
        warnings: Sentences that stand first.
        counts: Number of scored records per state.
        quarantine: What was set aside, most frequent first.
        expectations: One per head with an alarm level.
        events: The rows of the table `events` that the page shows, worst first.
        n_events: How many there are, on the page or not.
        explanations: Event id → its signal, for the events that have one.
        event_counts: (kind, label) → severity → number, over all events.
        records: The scored records that the page shows, in its order.
        unreadable_s: Label → seconds of unreadable signal.
        limits: The settings of the scoring run that values are compared with: tachycardia_bpm, bradycardia_bpm, pause_s.
    """

    run: Mapping[str, Any]
    model: ModelView | None
    n_archives: int
    warnings: Sequence[str]
    counts: Mapping[State, int]
    quarantine: Sequence[Quarantine]
    expectations: Sequence[Expectation]
    events: Sequence[Mapping[str, Any]]
    n_events: int
    explanations: Mapping[str, Explanation]
    event_counts: Mapping[tuple[str, str], Mapping[str, int]]
    records: Sequence[RecordRow]
    unreadable_s: Mapping[str, float]
    limits: Mapping[str, float]
