"""Which records of a catalog a model learns from: drawn by the seed in one pass, in memory those that are used."""

import heapq
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Self

from cardioclarity.cohort import draw
from cardioclarity.config import TrainConfig

log = logging.getLogger(__name__)

COLUMNS: Final = ("record_id", "segment_id", "segment_digest", "leads", "duration_s")
"""What the draw needs to know of a record."""

_SLACK_H: Final = 1e-6
"""Sums of hours in two orders differ by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What the plan keeps of a record.

    Attributes:
        place: In the order that the seed decides; sort by it.
        record_id: The record.
        segment: Its segment, and the digest of that one's manifest.
        n_leads: Number of its leads.
        hours: How much of it would be used.
    """

    place: str
    record_id: str
    segment: tuple[str, str]
    n_leads: int
    hours: float

    @classmethod
    def of(cls, row: Mapping[str, Any], config: TrainConfig) -> Self:
        """Take what is needed of a row of the catalog."""
        return cls(
            place=draw(config.seed, row["record_id"]),
            record_id=row["record_id"],
            segment=(row["segment_id"], row["segment_digest"]),
            n_leads=len(row["leads"]),
            hours=min(row["duration_s"] / 60, config.minutes_per_record) / 60,
        )


def choose(records: Iterable[Mapping[str, Any]], config: TrainConfig) -> list[Drawn]:
    """Draw records by the seed until there are enough of them, or enough hours; the others are forgotten at once.

    Args:
        records: Rows of `records` in any order, with `COLUMNS`.
        config: How many records and hours, and the seed.

    Returns:
        The first ones in the order of the seed; one at least where there is any.
    """
    held: list[tuple[int, Drawn]] = []  # a heap, the last in the drawn order first
    n_records, hours, too_late = 0, 0.0, 1 << 256
    for row in records:
        n_records += 1
        record = Drawn.of(row, config)
        if (place := int(record.place, 16)) > too_late:
            continue
        heapq.heappush(held, (-place, record))
        hours += record.hours
        while len(held) > config.max_records or (len(held) > 1 and hours > config.max_hours + _SLACK_H):
            last, dropped = heapq.heappop(held)
            hours, too_late = hours - dropped.hours, -last
    drawn = [record for _, record in sorted(held, key=lambda item: -item[0])]
    hours_up_to = accumulate(record.hours for record in drawn)
    n_chosen = max(1, sum(up_to <= config.max_hours for up_to in hours_up_to))
    chosen = drawn[:n_chosen]
    if len(chosen) < n_records:
        log.info("training on %d of %d records, drawn by the seed", len(chosen), n_records)
    return chosen
