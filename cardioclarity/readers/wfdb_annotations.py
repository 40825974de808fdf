"""MIT annotation files (`.atr`), in both directions.

Source: WFDB Applications Guide, annot(5): little-endian words of 16 bits, the type in the upper 6, the time since the
annotation before in the lower 10.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.errors import UnreadableFileError
from cardioclarity.record import Annotations
from cardioclarity.vocabulary import RHYTHMS, Reason

SYMBOLS: Final = {
    **dict(enumerate("NLRaVFJASEj/Q~", start=1)),
    16: "|",
    **dict(enumerate('sT*D"=pB^t+u?![]en@xf()r', start=18)),
}
"""Type → symbol. A type that is not here is read as a note (`"`), so it counts as no beat."""

_CODES: Final = {symbol: code for code, symbol in SYMBOLS.items()}
_NOTE: Final = _CODES['"']
_SYMBOL_TABLE: Final = np.array([SYMBOLS.get(code, '"') for code in range(64)], dtype=object)
_SKIP: Final = 59  # 60 to 62 are NUM, SUB and CHN: they change fields that are not kept.
_AUX: Final = 63
_LONGEST_STEP: Final = 1023
_LAST_SAMPLE: Final = 1 << 62
_RESOLUTION: Final = re.compile(r"## time resolution: *(\d{1,9}(?:\.\d{0,9})?)", re.ASCII)


def decode(data: bytes, *, rate_hz: float) -> Annotations:
    """Decode an annotation file.

    Definitions and `##` comments at time 0 are no annotations and left out. Of the aux texts only rhythm words of the
    closed vocabulary are kept. A missing terminator is tolerated.

    Args:
        data: Bytes of the file.
        rate_hz: Rate of the record; times are rescaled to it where the file states a time resolution of its own.

    Returns:
        The annotations, in the order of time.

    Raises:
        UnreadableFileError: A note or a skip runs over the end, a note has no annotation, or time runs backwards.
    """
    words = np.frombuffer(data, "<u2", len(data) // 2)
    scan = _scan(words)
    kind = words >> 10
    is_annotation = kind < _SKIP
    is_annotation[scan.payload] = False
    is_annotation[scan.end :] = False
    step = np.where(is_annotation, words & _LONGEST_STEP, 0).astype(np.int64)
    step[scan.skips] = _signed(words[scan.skips + 1], words[scan.skips + 2])
    at = np.flatnonzero(is_annotation)
    sample, code = np.cumsum(step)[at], kind[at].astype(np.intp)
    texts = _texts(data, scan, at)
    definitions, resolution_hz = _definitions(texts, sample, code)
    kept = code != 0  # Type 0 only carries time.
    kept[definitions] = False
    aux = np.full(at.size, "", dtype=object)
    for ordinal, text in texts.items():
        aux[ordinal] = _rhythm(text)
    return Annotations(
        sample=_in_order(sample[kept], rate_hz / (resolution_hz or rate_hz)),
        symbol=tuple(_SYMBOL_TABLE[code[kept]].tolist()),
        aux=tuple(aux[kept].tolist()),
    )


def encode(annotations: Annotations) -> bytes:
    """Encode an annotation file.

    Args:
        annotations: In the order of time, from sample 0 on, with symbols of `SYMBOLS`.

    Returns:
        The file.
    """
    step = np.diff(annotations.sample, prepend=np.int64(0))
    assert (step >= 0).all(), "annotations are written in the order of time"
    code = np.array([_CODES[symbol] for symbol in annotations.symbol], np.int64)
    far = step > _LONGEST_STEP
    words = (code << 10 | np.where(far, 0, step)).astype("<u2")
    special = np.flatnonzero(far | np.array([bool(text) for text in annotations.aux], bool))
    parts: list[bytes] = []
    done = 0
    for i in special.tolist():
        parts.append(words[done:i].tobytes())
        if far[i]:
            parts.append(_skip(int(step[i])))
        parts.append(words[i : i + 1].tobytes())
        parts.append(_note(annotations.aux[i]))
        done = i + 1
    return b"".join([*parts, words[done:].tobytes(), b"\0\0"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """Where the words are that are no plain annotations.

    Attributes:
        end: Index of the terminator, or the number of words.
        skips: (skip,) index of each SKIP; the two words behind it are the high and the low half of its interval.
        payload: Index of every word that belongs to a SKIP or an AUX before it.
        notes: Index and number of bytes of each AUX.
    """

    end: int
    skips: NDArray[np.intp]
    payload: NDArray[np.intp]
    notes: tuple[tuple[int, int], ...]


def _scan(words: NDArray[np.uint16]) -> _Scan:
    """Walk over the words that look special; inside a payload they are data, so the walk is in order.

    It moves forward with every step, whatever the bytes are.
    """
    candidates = np.flatnonzero((words >= _SKIP << 10) | (words == 0))
    skips: list[int] = []
    notes: list[tuple[int, int]] = []
    starts: list[int] = []
    lengths: list[int] = []
    end, free = len(words), 0
    for index, word in zip(candidates.tolist(), words[candidates].tolist(), strict=True):
        if index < free:
            continue
        if word == 0:
            end = index
            break
        length = _payload_words(word)
        free = index + 1 + length
        if free > len(words):
            raise UnreadableFileError.because(
                Reason.TRUNCATED, f"the annotation file ends inside the item at byte {2 * index}"
            )
        if word >> 10 == _SKIP:
            skips.append(index)
        elif word >> 10 == _AUX:
            notes.append((index, word & _LONGEST_STEP))
        starts.append(index + 1)
        lengths.append(length)
    return _Scan(end=end, skips=np.array(skips, np.intp), payload=_ranges(starts, lengths), notes=tuple(notes))


def _payload_words(word: int) -> int:
    if word >> 10 == _SKIP:
        return 2
    return ((word & _LONGEST_STEP) + 1) // 2 if word >> 10 == _AUX else 0


def _ranges(starts: list[int], lengths: list[int]) -> NDArray[np.intp]:
    """List the members of all ranges."""
    before = np.cumsum([0, *lengths], dtype=np.intp)
    shift = np.repeat(np.array(starts, np.intp) - before[:-1], lengths)
    ranges: NDArray[np.intp] = shift + np.arange(before[-1])
    return ranges


def _signed(high: NDArray[np.uint16], low: NDArray[np.uint16]) -> NDArray[np.int32]:
    return (high.astype(np.uint32) << 16 | low).astype(np.uint32).view(np.int32)


def _texts(data: bytes, scan: _Scan, at: NDArray[np.intp]) -> dict[int, str]:
    """Give each AUX to the annotation before it: ordinal of the annotation → text, padding and all."""
    owners = (np.searchsorted(at, [index for index, _ in scan.notes]) - 1).tolist()
    if owners and owners[0] < 0:
        raise UnreadableFileError("the annotation file begins with a text that belongs to no annotation")
    return {
        owner: data[2 * index + 2 : 2 * index + 2 + length].decode("latin-1")
        for owner, (index, length) in zip(owners, scan.notes, strict=True)
    }


def _definitions(
    texts: Mapping[int, str], sample: NDArray[np.int64], code: NDArray[np.intp]
) -> tuple[list[int], float | None]:
    """Find the notes at time 0 that are definitions or comments, and the time resolution if one of them states it."""
    found: list[int] = []
    resolution_hz: float | None = None
    in_block = False
    for ordinal, text in texts.items():
        if sample[ordinal] != 0 or code[ordinal] != _NOTE:
            continue
        if text.startswith("## ") or in_block:
            found.append(ordinal)
        if text.startswith("## annotation type definitions"):
            in_block = True
        elif text.startswith("## end of definitions"):
            in_block = False
        elif match := _RESOLUTION.match(text):
            resolution_hz = float(match[1])
    return found, resolution_hz


def _rhythm(text: str) -> str:
    """Keep a rhythm word of the closed vocabulary, with its parenthesis; all other text may identify somebody."""
    word = text.strip(" \0")
    return word if word.startswith("(") and word[1:] in RHYTHMS else ""


def _in_order(sample: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    """Rescale sample numbers, and refuse them where time runs backwards or begins before the record."""
    if sample.size and (sample[0] < 0 or (np.diff(sample) < 0).any()):
        raise UnreadableFileError("time runs backwards in the annotation file")
    if scale == 1:
        return sample
    scaled: NDArray[np.float64] = np.rint(sample * scale)
    if scaled.size and scaled[-1] > _LAST_SAMPLE:
        raise UnreadableFileError("the time resolution of the annotation file puts annotations beyond any record")
    rescaled: NDArray[np.int64] = scaled.astype(np.int64)
    return rescaled


def _skip(step: int) -> bytes:
    assert step < 1 << 31, "an interval between annotations has 31 bits"
    return np.array([_SKIP << 10, step >> 16, step & 0xFFFF], "<u2").tobytes()


def _note(text: str) -> bytes:
    data = text.encode("latin-1")
    assert len(data) <= 255, "a text has at most 255 bytes"
    return np.array(_AUX << 10 | len(data), "<u2").tobytes() + data + b"\0" * (len(data) % 2) if data else b""
