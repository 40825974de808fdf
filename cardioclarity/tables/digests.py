"""A 128-bit digest per row: sums of them tell whether rows are equal in any order, sets of them which keys are known."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cardioclarity.tables.schemas import KEYS

Words = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Two 64-bit words per row."""

_LANES: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_NULL: Final = 0xA5A5_5A5A_0F0F_F0F0


def row_digest(rows: pa.Table, partition: tuple[tuple[str, str], ...]) -> int:
    """Sum a 128-bit hash per row, mod 2^128, so that neither order nor division into files matters.

    Left out is what names the run or its time.
    """
    told = [n for n in rows.schema.names if n not in {"run_id", "evidence_run_id"} and not n.endswith("_at")]
    high, low = (_exact_sum(lane) for lane in _row_words(rows, told, json.dumps(partition)))
    return ((high << 64) + low) % 2**128


def key_words(table: str, rows: pa.Table) -> Words:
    """Digest each row's key; a quarantined file is named by its source, only a record without one by its id."""
    if table == "quarantine":
        by_source = pc.is_valid(rows["source_key"])
        named = pc.if_else(by_source, pa.scalar(None, pa.string()), rows["record_id"])
        rows = rows.set_column(rows.schema.names.index("record_id"), "record_id", named)
    return _row_words(rows, KEYS[table], table)


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """A set of keys in 16 bytes each, however long they are; two keys in 2^64 would have to share a digest to be mixed up.

    Attributes:
        high: First words, ascending.
        low: The second words that belong to them, ascending where the first ones are equal.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]

    @classmethod
    def of(cls, parts: Iterable[Words]) -> Self:
        """Collect digests; an equal one is kept as often as it comes."""
        lanes = list(parts) or [(np.zeros(0, np.uint64), np.zeros(0, np.uint64))]
        high, low = (np.concatenate([part[lane] for part in lanes]) for lane in (0, 1))
        order = np.lexsort((low, high))
        return cls(high[order], low[order])

    def __len__(self) -> int:
        return len(self.high)

    @property
    def n_doubled(self) -> int:
        """How many digests there are beyond the distinct ones."""
        return int(((self.high[1:] == self.high[:-1]) & (self.low[1:] == self.low[:-1])).sum())

    def find(self, words: Words) -> NDArray[np.intp]:
        """Give the place of each digest in the set, -1 where it is not in it."""
        high, low = words
        place = np.searchsorted(self.high, high)
        found = np.full(len(high), -1, np.intp)
        looking = np.arange(len(high))
        while len(looking):  # a second round only where two first words are equal
            looking = looking[place[looking] < len(self)]
            looking = looking[self.high[place[looking]] == high[looking]]
            hit = self.low[place[looking]] == low[looking]
            found[looking[hit]] = place[looking[hit]]
            looking = looking[~hit]
            place[looking] += 1
        return found

    def holds(self, words: Words) -> NDArray[np.bool_]:
        """Tell for each digest whether it is in the set."""
        held: NDArray[np.bool_] = self.find(words) >= 0
        return held


def _row_words(rows: pa.Table, names: Sequence[str], seed: str) -> Words:
    """Mix the words of the named columns, row by row.

    Each column becomes 64-bit words: the bits of a number, a BLAKE2 digest per distinct text. Two lanes mix the words of
    a row, column by column, with the SplitMix64 finaliser.
    """
    first, second = (np.full(rows.num_rows, word, np.uint64) for word in _words_of(seed))
    lanes = [first, second]
    for name in names:
        words = _column_words(rows[name].combine_chunks())
        salt = _words_of(name)
        for lane, factor in enumerate(_LANES):
            lanes[lane] = _mix(lanes[lane] * np.uint64(factor) + _mix(words[lane] ^ np.uint64(salt[lane])))
    return lanes[0], lanes[1]


def _column_words(column: pa.Array) -> Words:
    """Turn one column into two 64-bit words per row."""
    if pa.types.is_list(column.type):
        column = pa.array([None if words is None else json.dumps(words) for words in column.to_pylist()], pa.string())
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        words = np.array([_words_of(text) for text in encoded.dictionary.to_pylist()] or [(0, 0)], np.uint64)
        index = encoded.indices.fill_null(0).to_numpy()
        first, second = words[index, 0], words[index, 1]
    else:
        kind, zero = (pa.float64(), 0.0) if pa.types.is_floating(column.type) else (pa.int64(), 0)
        numbers = column.cast(kind).fill_null(zero).to_numpy(zero_copy_only=False)
        first = second = (numbers + numbers.dtype.type(0)).view(np.uint64)  # + 0 makes -0.0 and 0.0 one value
    if column.null_count:
        null = pc.is_null(column).to_numpy(zero_copy_only=False)
        first, second = (np.where(null, np.uint64(_NULL), lane) for lane in (first, second))
    return first, second


def _words_of(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over the word: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _exact_sum(words: NDArray[np.uint64]) -> int:
    return (int((words >> np.uint64(32)).sum()) << 32) + int((words & np.uint64(0xFFFFFFFF)).sum())
