"""Archives of synthetic ECGs as WFDB files with known truth, broken files among them: for the demo and for tests."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cardioclarity.readers import wfdb_annotations, wfdb_signal
from cardioclarity.synthetic.pacing import Episode, Scene
from cardioclarity.synthetic.phantom import Recording, ecg
from cardioclarity.synthetic.scenes import TWELVE_LEADS, demo_scenes, short_scene
from cardioclarity.vocabulary import Reason

Put = Callable[[str, bytes], object]
"""Where files go: key in the archive and bytes, such as `Storage.put_new` or `dict.__setitem__`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adc:
    """How a recorder digitises.

    Attributes:
        wfdb_format: Number of the WFDB signal format.
        bits: Resolution.
        gain: ADC units per millivolt.
        baseline: ADC value at 0 mV.
        lowest: Smallest valid value.
        highest: Largest valid value.
    """

    wfdb_format: int
    bits: int
    gain: float
    baseline: int
    lowest: int
    highest: int


MIT: Final = Adc(wfdb_format=212, bits=11, gain=200.0, baseline=1024, lowest=0, highest=2047)
"""As the recorders of the MIT-BIH Arrhythmia Database."""

FINE: Final = Adc(wfdb_format=16, bits=16, gain=1000.0, baseline=0, lowest=-32767, highest=32767)
"""As PTB-XL and most 12-lead electrocardiographs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTruth:
    """What is known about one record of an archive.

    Attributes:
        group: Its folder: normal, episodes, short, edge (all of `demo_scenes`), or copy.
        scene: Its plan.
        rpeaks: (beat,) int64, samples of the R peaks that can be seen.
        symbols: One MIT symbol each.
        episodes: What happened.
    """

    group: str
    scene: Scene
    rpeaks: NDArray[np.int64]
    symbols: tuple[str, ...]
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTruth:
    """What is known about an archive.

    Attributes:
        records: Key of the header without its ending → truth, for each readable file set.
        copies: Second delivery → first delivery, both as in `records`.
        broken: Key of the header of each broken file set → why it cannot be read.
    """

    records: Mapping[str, RecordTruth]
    copies: Mapping[str, str]
    broken: Mapping[str, Reason]


_DEMO_ADC: Final = {360.0: MIT, 250.0: FINE, 500.0: FINE}


def write_archive(put: Put, *, seed: int) -> ArchiveTruth:
    """Write the demo archive.

    Args:
        put: Takes each file.
        seed: The same seed gives the same bytes.

    Returns:
        What is known about it.
    """
    records: dict[str, RecordTruth] = {}
    for scene in demo_scenes(seed):
        records[scene.name] = _write(scene, put)
    first = next(name for name in records if name.startswith("normal/"))
    second = "copy/second-delivery"
    records[second] = _write(replace(records[first].scene, name=second), put)
    return ArchiveTruth(records=records, copies={second: first}, broken=_write_broken(put, seed=seed))


def short_records(n: int, *, seed: int, leads: tuple[str, ...] = TWELVE_LEADS) -> Iterator[tuple[str, bytes]]:
    """Make many 10-s ECGs of different patients, for tests of scale; every tenth fibrillates.

    Args:
        n: Records; each has two files, in folders of a thousand records.
        seed: Together with its number decides a record: asking for more keeps the first ones.
        leads: The leads of all of them.

    Yields:
        Key and bytes of each file.
    """
    for number in range(n):
        yield from wfdb_files(ecg(short_scene(number, seed=seed, leads=leads)), FINE, annotated=False).items()


def digitise(signal_mv: NDArray[np.float32], adc: Adc) -> NDArray[np.int16]:
    """Digitise a signal.

    Args:
        signal_mv: (lead, sample) float32, millivolts; NaN where missing.
        adc: The recorder.

    Returns:
        (lead, sample) int16; the dtype's minimum where missing, the nearest valid value beyond the range.
    """
    scaled = np.clip(np.rint(signal_mv * np.float32(adc.gain) + adc.baseline), adc.lowest, adc.highest)
    return np.where(np.isnan(scaled), np.float32(wfdb_signal.MISSING), scaled).astype(np.int16)


def wfdb_files(recording: Recording, adc: Adc, *, annotated: bool = True) -> dict[str, bytes]:
    """Write a recording as WFDB files.

    Args:
        recording: The recording; the name of its scene is the key without an ending.
        adc: The recorder.
        annotated: With the truth as annotations.

    Returns:
        Key → bytes of the header ``.hea``, the signal file ``.dat`` and the annotations ``.atr``.

    Source: WFDB Applications Guide, header(5).
    """
    stem, digital = recording.scene.name, digitise(recording.signal_mv, adc)
    files = {
        f"{stem}.hea": _header(recording.scene, digital, adc).encode(),
        f"{stem}.dat": wfdb_signal.encode(digital, adc.wfdb_format),
    }
    if annotated:
        files[f"{stem}.atr"] = wfdb_annotations.encode(recording.annotations())
    return files


def _header(scene: Scene, digital: NDArray[np.int16], adc: Adc) -> str:
    name = PurePosixPath(scene.name).name
    code = np.int16(wfdb_signal.DECODERS[adc.wfdb_format].missing)
    stored = np.where(digital == wfdb_signal.MISSING, code, digital)
    checksums = np.add.reduce(stored, axis=1, dtype=np.int16)  # modulo 65536, as signed as header(5) has it
    kind = f"{name}.dat {adc.wfdb_format} {adc.gain:g}({adc.baseline})/mV {adc.bits} {adc.baseline}"
    lines = [
        f"{kind} {first} {checksum} 0 {lead}"
        for lead, first, checksum in zip(scene.leads, stored[:, 0], checksums, strict=True)
    ]
    return "\n".join([f"{name} {len(lines)} {scene.rate_hz:g} {digital.shape[1]}", *lines, ""])


def _write(scene: Scene, put: Put) -> RecordTruth:
    recording = ecg(scene)
    for key, data in wfdb_files(recording, _DEMO_ADC[scene.rate_hz]).items():
        put(key, data)
    return RecordTruth(
        group=scene.name.partition("/")[0],
        scene=scene,
        rpeaks=recording.rpeaks,
        symbols=recording.symbols,
        episodes=recording.episodes,
    )


def _write_broken(put: Put, *, seed: int) -> dict[str, Reason]:
    """Write one broken file set per way to break one."""
    whole = Scene(name="broken/whole", seed=seed, duration_s=30.0, rate_hz=360.0)
    files = wfdb_files(ecg(whole), MIT, annotated=False)
    header, signal = files["broken/whole.hea"].decode(), files["broken/whole.dat"]
    cases: dict[str, tuple[Reason, str, bytes | None]] = {
        "truncated": (Reason.TRUNCATED, header, signal[: len(signal) // 2]),
        "absent-signal": (Reason.MISSING_FILE, header, None),
        "gain": (Reason.BAD_GAIN, header.replace("200(1024)", "nan(1024)", 1), signal),
        "climbing": (Reason.BAD_KEY, header.replace("whole.dat", "../../etc/passwd"), signal),
        "format": (Reason.UNSUPPORTED_VARIANT, header.replace(" 212 ", " 311 "), signal),
        "garbage": (Reason.MALFORMED, "\x00\x13 not a header \x7f\n" * 3, signal),
        "empty-header": (Reason.NO_HEADER, "", signal),
    }
    for name, (_, text, data) in cases.items():
        put(f"broken/{name}.hea", text.replace("whole", name).encode())
        if data is not None:
            put(f"broken/{name}.dat", data)
    return {f"broken/{name}.hea": reason for name, (reason, _, _) in cases.items()}
