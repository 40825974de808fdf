"""What a bench returns: measured figures, each beside its peer and its goal; and the table of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        goal: The goal it belongs to, such as ``S1``.
        what: What was measured.
        unit: Unit of `ours` and `peer`.
        ours: Our value.
        peer: The value of the peer or the limit, from the same run.
        ratio: How many times better than the peer, or the share of the limit that is reached.
        low: Lower end of the 95 % interval of `ours`.
        high: Upper end of it.
        at_least: The goal: least ratio, or least value of ours where there is no ratio.
        at_most: The goal: largest ratio or value.
    """

    goal: str
    what: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where the figure only informs."""
        if self.at_least is None and self.at_most is None:
            return None
        judged = self.ours if self.ratio is None else self.ratio
        return (self.at_least is None or judged >= self.at_least) and (self.at_most is None or judged <= self.at_most)

    def as_json(self) -> dict[str, object]:
        """Lay the row out for a file."""
        return asdict(self) | {"reached": self.reached}

    def cells(self) -> tuple[str, ...]:
        """Lay the row out for a person."""
        interval = "" if self.low is None or self.high is None else f" [{_short(self.low)}, {_short(self.high)}]"
        bounds = [
            f"{sign} {_short(bound)}"
            for sign, bound in (("≥", self.at_least), ("≤", self.at_most))
            if bound is not None
        ]
        verdict = {None: "", True: "reached", False: "missed"}[self.reached]
        return (
            self.goal,
            self.what,
            _short(self.ours) + interval,
            _short(self.peer),
            _short(self.ratio),
            ", ".join(bounds),
            self.unit,
            verdict,
        )


HEADINGS = ("goal", "what", "ours", "peer", "ratio", "goal value", "unit", "")


def table(rows: Sequence[Row]) -> list[str]:
    """Align the rows under their headings."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
