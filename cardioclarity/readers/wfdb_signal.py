"""WFDB signal files, in both directions: interleaved stored samples ↔ (lead, sample) integers.

Source: WFDB Applications Guide, signal(5).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.errors import UnreadableFileError, UnsupportedFileError
from cardioclarity.readers.wfdb_header import SignalSpec
from cardioclarity.vocabulary import Reason

MISSING: Final = int(np.iinfo(np.int16).min)
"""What a missing sample becomes, whatever code its format has."""

_BLOCK_BYTES: Final = 3 << 17  # A block and its samples stay in the cache while they are decoded, summed and searched.

Bytes = NDArray[np.uint8]
Row = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """One storage format.

    Attributes:
        bits: Size of a stored sample.
        missing: The format's code for a missing sample.
        decode: (bytes of whole frames, signals per frame, channel, row to fill): picks one channel.
        encode: (samples in file order) → bytes.
    """

    bits: int
    missing: int
    decode: Callable[[Bytes, int, int, Row], None]
    encode: Callable[[Row], bytes]

    def n_bytes(self, n_samples: int) -> int:
        """Fewest bytes that hold so many samples; the padding after an odd tail may be absent."""
        return -(-n_samples * self.bits // 8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """The samples of chosen signals.

    Attributes:
        signal: (lead, sample) int16, contiguous; `MISSING` where a sample is missing.
        checksums_hold: False where a checksum of the header differs from that of the stored samples.
    """

    signal: NDArray[np.int16]
    checksums_hold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Signals that are interleaved in one file.

    Attributes:
        file: Its name.
        specs: Their lines.
        first: Index of the first of them in the header.
        decoder: Of their common format.
        byte_offset: Bytes before the first frame.
    """

    file: str
    specs: tuple[SignalSpec, ...]
    first: int
    decoder: Decoder
    byte_offset: int

    def frames_in(self, n_bytes: int) -> int:
        """How many whole frames a file of this size holds."""
        return max(n_bytes - self.byte_offset, 0) * 8 // (self.decoder.bits * len(self.specs))

    def needs(self, n_frames: int) -> int:
        """Fewest bytes of a file with so many frames."""
        return self.byte_offset + self.decoder.n_bytes(n_frames * len(self.specs))


def groups(signals: Sequence[SignalSpec], wanted: Sequence[int]) -> tuple[Group, ...]:
    """Find the files that hold the wanted signals, before any of them is fetched.

    Args:
        signals: All signals of the header, in its order; neighbours that name one file are interleaved in it.
        wanted: Indices into `signals`.

    Returns:
        The groups, in the order of the header.

    Raises:
        UnreadableFileError: Signal lines contradict each other.
        UnsupportedFileError: A storage format, or several samples per frame, is not read.
    """
    return tuple(_groups(signals, frozenset(wanted)))


def decode(
    groups: Sequence[Group], files: Mapping[str, bytes], *, wanted: Sequence[int], n_samples: int | None
) -> Decoded:
    """Decode chosen signals of a record.

    Args:
        groups: From `groups`, with the same `wanted`.
        files: Bytes by file name.
        wanted: Indices into the header's signals, one per row of the result, at least one.
        n_samples: Samples per signal that the header declares; None to take what the shortest file holds.

    Returns:
        The samples.

    Raises:
        UnreadableFileError: A file is shorter than declared or holds no sample. Nothing has been allocated.
    """
    held = min(group.frames_in(len(files[group.file])) for group in groups)
    n_frames = held if n_samples is None else n_samples
    for group in groups:
        _check_size(group, len(files[group.file]), n_frames)
    signal = np.empty((len(wanted), n_frames), np.int16)
    checksums_hold = True
    for group in groups:
        rows = {
            index - group.first: signal[row]
            for row, index in enumerate(wanted)
            if 0 <= index - group.first < len(group.specs)
        }
        checksums_hold &= _decode_group(group, files[group.file], rows)
    return Decoded(signal=signal, checksums_hold=checksums_hold)


def encode(signal: NDArray[np.int16], wfdb_format: int) -> bytes:
    """Encode signals as one interleaved signal file.

    Args:
        signal: (signal, sample) int16 within the format's range; `MISSING` becomes the format's own code.
        wfdb_format: Number of the storage format, a key of `DECODERS`.

    Returns:
        The file.
    """
    decoder = DECODERS[wfdb_format]
    flat = np.ascontiguousarray(signal.T, np.int16).reshape(-1)
    return decoder.encode(np.where(flat == MISSING, np.int16(decoder.missing), flat))


def _groups(signals: Sequence[SignalSpec], wanted: frozenset[int]) -> Iterator[Group]:
    first = 0
    seen: set[str] = set()
    for file, members in groupby(signals, key=lambda spec: spec.file):
        specs = tuple(members)
        if file in seen:
            raise UnreadableFileError(
                f"signal {first + 1} returns to a file after signals of another, so its place there is unclear; "
                "the record is set aside"
            )
        seen.add(file)
        if not wanted.isdisjoint(range(first, first + len(specs))):
            yield _group(specs, first)
        first += len(specs)


def _group(specs: tuple[SignalSpec, ...], first: int) -> Group:
    formats, offsets = {spec.format for spec in specs}, {spec.byte_offset for spec in specs} - {0}
    if len(formats) > 1 or len(offsets) > 1:
        raise UnreadableFileError(
            f"the signals from {first + 1} on share a file but not its format or offset; the record is set aside"
        )
    decoder = DECODERS.get(specs[0].format)
    if decoder is None:
        known = ", ".join(map(str, sorted(DECODERS)))
        raise UnsupportedFileError(
            f"signal {first + 1} is stored in format {specs[0].format}; read are formats {known}; the record is set aside"
        )
    if any(spec.samples_per_frame != 1 for spec in specs):
        raise UnsupportedFileError(
            f"a signal from {first + 1} on has other than one sample per frame, which is not read; "
            "the record is set aside"
        )
    return Group(file=specs[0].file, specs=specs, first=first, decoder=decoder, byte_offset=max(offsets, default=0))


def _check_size(group: Group, n_bytes: int, n_frames: int) -> None:
    """Refuse before anything is allocated for samples that the file cannot hold."""
    if n_bytes < group.needs(n_frames):
        raise UnreadableFileError.because(
            Reason.TRUNCATED,
            f"the file of signal {group.first + 1} has {n_bytes} bytes, header needs {group.needs(n_frames)}; "
            "the record is set aside",
        )
    if n_frames == 0:
        raise UnreadableFileError.because(
            Reason.TOO_SHORT, f"the file of signal {group.first + 1} holds no sample; the record is set aside"
        )


def _decode_group(group: Group, data: bytes, rows: Mapping[int, Row]) -> bool:
    """Fill the rows of one group's channels; tell whether their checksums hold."""
    decoder, n_signals = group.decoder, len(group.specs)
    n_frames = next(iter(rows.values())).size
    stored = np.frombuffer(data, np.uint8)[group.byte_offset : group.needs(n_frames)]
    block = max(_BLOCK_BYTES // (n_signals * decoder.bits), 1) * 8  # frames; a multiple of 8 ends on a whole byte
    sums = dict.fromkeys(rows, 0)
    for start in reversed(range(0, n_frames, block)):  # the end was read last, so it still lies in the cache
        stop = min(start + block, n_frames)
        part = stored[start * n_signals * decoder.bits // 8 : decoder.n_bytes(stop * n_signals)]
        for channel, row in rows.items():
            piece = row[start:stop]
            decoder.decode(part, n_signals, channel, piece)
            sums[channel] += int(np.add.reduce(piece, dtype=np.int16))
            if decoder.missing != MISSING and np.minimum.reduce(piece) == decoder.missing:
                piece[piece == decoder.missing] = MISSING
    for channel, row in rows.items():
        _undo_skew(row, group.specs[channel].skew)
    declared = {channel: group.specs[channel].checksum for channel in rows}
    return all(declared[channel] in {None, total % 65536} for channel, total in sums.items())


def _undo_skew(row: Row, skew: int) -> None:
    """Move samples that were stored `skew` frames late to their time; the end is then missing."""
    if skew:
        kept = max(row.size - skew, 0)
        row[:kept] = row[row.size - kept :].copy()
        row[kept:] = MISSING


def _decode_16(part: Bytes, n_signals: int, channel: int, row: Row) -> None:
    row[:] = part.view("<i2")[channel::n_signals]


def _encode_16(samples: Row) -> bytes:
    return samples.astype("<i2").tobytes()


def _decode_212(part: Bytes, n_signals: int, channel: int, row: Row) -> None:
    """Pick one channel of format 212: two samples of 12 bits in three bytes.

    With an even number of signals a channel always is the same half of its pair, else in every second frame.
    """
    if n_signals % 2 == 0:
        _decode_strand_212(part, channel, n_signals, row)
    else:
        _decode_strand_212(part, channel, 2 * n_signals, row[0::2])
        _decode_strand_212(part, channel + n_signals, 2 * n_signals, row[1::2])


def _decode_strand_212(part: Bytes, first: int, step: int, row: Row) -> None:
    """Decode the samples `first`, `first + step`, …, where `step` is even, so that all are the same half of a pair.

    The two bytes that hold a sample are read as one 16-bit word, its bits are moved to the top, and an arithmetic
    shift brings them down again with their sign: five passes over a row, none wider than 16 bits.
    """
    if row.size == 0:
        return
    bits = row.view(np.uint16)
    bits[:] = np.ndarray(row.shape, "<u2", part, 3 * (first // 2) + first % 2, (3 * step // 2,))
    if first % 2 == 0:
        bits *= np.uint16(16)
    else:
        # The word is b2 b1; the sample's top four bits are those of b1. (word >> 4) * 4097 puts b1's on top of b2.
        bits >>= np.uint16(4)
        bits *= np.uint16(4097)
    row >>= np.int16(4)


def _encode_212(samples: Row) -> bytes:
    assert samples.size == 0 or (samples.min() >= -2048 and samples.max() <= 2047), "format 212 holds 12 bits"
    padded = np.zeros(samples.size + samples.size % 2, np.uint16)
    padded[: samples.size] = samples.view(np.uint16) & 0xFFF
    even, odd = padded[0::2], padded[1::2]
    stored = np.empty((even.size, 3), np.uint8)
    stored[:, 0] = even & 0xFF
    stored[:, 1] = (even >> 8) | ((odd >> 8) << 4)
    stored[:, 2] = odd & 0xFF
    return stored.tobytes()


DECODERS: Final[dict[int, Decoder]] = {
    16: Decoder(bits=16, missing=-32768, decode=_decode_16, encode=_encode_16),
    212: Decoder(bits=12, missing=-2048, decode=_decode_212, encode=_encode_212),
}
"""Every storage format that is read: another one is a pair of functions and a line here."""
