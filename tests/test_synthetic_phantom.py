"""The signal of a phantom shows what its truth says, beat by beat and episode by episode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.synthetic.pacing import Episode, Scene
from cardioclarity.synthetic.phantom import LEADS, ecg
from cardioclarity.synthetic.scenes import TWELVE_LEADS
from cardioclarity.vocabulary import BEAT_CLASSES
from cardioclarity.vocabulary import LEADS as KNOWN_LEADS

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=15, deadline=None)
RATES = st.sampled_from([128.0, 250.0, 360.0, 500.0])


def record(seed: int = 1, **plan):
    return ecg(Scene(**{"name": "x", "seed": seed, "duration_s": 60.0, "rate_hz": 250.0, **plan}))


def windows(recording, samples, *, before_s, after_s, lead=0):
    """(beat, sample) around each of the samples, less its median."""
    rate_hz = recording.scene.rate_hz
    offsets = np.arange(round(-before_s * rate_hz), round(after_s * rate_hz) + 1)
    inside = (samples + offsets[0] >= 0) & (samples + offsets[-1] < recording.signal_mv.shape[1])
    cut = recording.signal_mv[lead][samples[inside][:, None] + offsets]
    return cut - np.median(recording.signal_mv[lead])


def of_symbol(recording, symbols):
    return recording.rpeaks[np.isin(recording.symbols, list(symbols))]


@given(
    seed=SEEDS,
    rate_hz=RATES,
    resting_bpm=st.floats(55, 95),
    lead=st.sampled_from(["MLII", "II"]),
    wide_qrs=st.booleans(),
    inverted_t=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_normal_beats_lie_on_the_largest_deflection_within_20_ms(seed, rate_hz, lead, **plan):
    recording = record(seed, rate_hz=rate_hz, leads=(lead,), **plan)

    cut = np.abs(windows(recording, recording.rpeaks, before_s=0.12, after_s=0.12))

    away_s = np.abs(cut.argmax(axis=1) - cut.shape[1] // 2) / rate_hz
    assert len(cut) > 40
    assert (away_s <= 0.02).all()


@given(seed=SEEDS, pvc_per_hour=st.integers(0, 400), pac_per_hour=st.integers(0, 400), wide_qrs=st.booleans())
@MANY
def test_peaks_and_symbols_belong_together(seed, wide_qrs, **plan):
    recording = record(seed, wide_qrs=wide_qrs, **plan)

    assert len(recording.rpeaks) == len(recording.symbols)
    assert (np.diff(recording.rpeaks) > 0).all()
    assert recording.rpeaks[0] >= 0
    assert recording.rpeaks[-1] < recording.signal_mv.shape[1]
    assert set(recording.symbols) <= {"L" if wide_qrs else "N", "V", "A"} <= set(BEAT_CLASSES)


def test_the_same_scene_gives_the_same_bits_and_another_seed_another_patient():
    plan = {"pvc_per_hour": 120, "episodes": (Episode(kind="noise", start_s=20, end_s=30),)}

    first, again, other = record(1, **plan), record(1, **plan), record(2, **plan)

    np.testing.assert_array_equal(first.signal_mv, again.signal_mv)
    np.testing.assert_array_equal(first.rpeaks, again.rpeaks)
    assert not np.array_equal(first.signal_mv, other.signal_mv)


def test_a_recording_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        record().signal_mv[0, 0] = 1


@given(seed=SEEDS)
@MANY
def test_limb_leads_obey_einthoven_and_goldberger(seed):
    signal = dict(zip(TWELVE_LEADS, record(seed, leads=TWELVE_LEADS, duration_s=10.0).signal_mv, strict=True))

    np.testing.assert_allclose(signal["III"], signal["II"] - signal["I"], atol=1e-5)
    np.testing.assert_allclose(signal["aVR"] + signal["aVL"] + signal["aVF"], 0, atol=1e-5)
    np.testing.assert_allclose(signal["aVF"], (signal["II"] + signal["III"]) / 2, atol=1e-5)


def test_the_dipole_itself_obeys_einthoven():
    # Without I no lead is derived: each is the view of the dipole from its own direction.
    alone = {lead: record(3, leads=(lead,)) for lead in ("I", "II", "III")}
    mean = {lead: windows(one, one.rpeaks, before_s=0.3, after_s=0.5).mean(axis=0) for lead, one in alone.items()}

    np.testing.assert_allclose(mean["III"], mean["II"] - mean["I"], atol=0.08)


@given(seed=SEEDS)
@MANY
def test_precordial_leads_go_from_a_deep_s_to_a_high_r(seed):
    recording = record(seed, leads=("V1", "V2", "V3", "V4", "V5", "V6"), duration_s=30.0)

    at_r = recording.signal_mv[:, recording.rpeaks].mean(axis=1)

    assert at_r[0] < -0.1
    assert at_r[5] > 0.1
    assert (np.diff(at_r) > 0).all()


def test_every_lead_of_a_phantom_is_a_lead_of_the_vocabulary():
    assert set(LEADS) <= set(KNOWN_LEADS)
    assert record(leads=("MLII",)).signal_mv.shape == (1, 15_000)
    with pytest.raises(AssertionError):
        record(leads=("ES",))


@given(seed=SEEDS)
@MANY
def test_ventricular_beats_are_wide_and_have_no_p_wave(seed):
    recording = record(seed, duration_s=120.0, pvc_per_hour=300, leads=("MLII",))
    width = {}

    for symbol in "NV":
        cut = np.abs(windows(recording, of_symbol(recording, symbol), before_s=0.1, after_s=0.1)).mean(axis=0)
        width[symbol] = (cut > cut.max() / 2).mean()

    assert width["V"] > 1.8 * width["N"]


def p_wave_mv(recording, samples):
    """Height of the mean signal near the P wave above the signal just before the QRS."""
    cut = windows(recording, samples, before_s=0.26, after_s=0.0).mean(axis=0)
    rate_hz = recording.scene.rate_hz
    baseline = cut[: round(0.03 * rate_hz)].mean()
    return cut[round(0.07 * rate_hz) : round(0.16 * rate_hz)].mean() - baseline


@given(seed=SEEDS)
@MANY
def test_sinus_beats_have_a_p_wave_and_fibrillating_atria_have_none(seed):
    plan = {"duration_s": 300.0, "leads": ("MLII",), "resting_bpm": 60.0}
    recording = record(seed, **plan, episodes=(Episode(kind="af", start_s=150, end_s=300),))

    sinus = recording.rpeaks[recording.rpeaks < 140 * 250]
    fibrillating = recording.rpeaks[recording.rpeaks > 152 * 250]

    assert p_wave_mv(recording, sinus) > 0.03
    assert p_wave_mv(recording, fibrillating) < 0.3 * p_wave_mv(recording, sinus)


def test_fibrillation_shows_f_waves_between_4_and_9_hz():
    recording = record(5, duration_s=240.0, leads=("V1",), episodes=(Episode(kind="af", start_s=120, end_s=240),))
    power = []

    for start_s in (10, 125):
        stretch = recording.signal_mv[0, start_s * 250 : (start_s + 110) * 250]
        since_r = np.arange(len(stretch))[:, None] + start_s * 250 - recording.rpeaks
        free = ~((since_r > -50) & (since_r < 110)).any(axis=1)  # between T and Q, joined by straight lines
        joined = np.interp(np.arange(len(stretch)), np.flatnonzero(free), stretch[free])
        spectrum = np.abs(np.fft.rfft(joined)) ** 2
        power.append(spectrum[4 * 110 : 9 * 110].sum())

    assert power[1] > 5 * power[0]


@given(seed=SEEDS)
@MANY
def test_atrial_beats_keep_the_qrs_and_change_the_p_wave(seed):
    recording = record(seed, duration_s=300.0, pac_per_hour=300, leads=("MLII",))
    mean = {s: windows(recording, of_symbol(recording, s), before_s=0.04, after_s=0.06).mean(axis=0) for s in "NA"}

    assert np.corrcoef(mean["N"], mean["A"])[0, 1] > 0.98
    assert p_wave_mv(recording, of_symbol(recording, "A")) < p_wave_mv(recording, of_symbol(recording, "N")) - 0.03


def test_bundle_branch_block_widens_the_qrs_and_is_told_by_its_symbol():
    normal, blocked = record(6, leads=("MLII",)), record(6, leads=("MLII",), wide_qrs=True)
    width = []

    for recording in (normal, blocked):
        cut = np.abs(windows(recording, recording.rpeaks, before_s=0.1, after_s=0.1)).mean(axis=0)
        width.append((cut > cut.max() / 3).mean())

    assert width[1] > 1.8 * width[0]
    assert set(blocked.symbols) == {"L"}


def test_an_inverted_t_wave_points_away_from_the_qrs():
    heights = [
        windows(recording, recording.rpeaks, before_s=-0.22, after_s=0.32).mean()
        for recording in (record(7, leads=("MLII",)), record(7, leads=("MLII",), inverted_t=True))
    ]

    assert heights[0] > 0.1
    assert heights[1] < -0.05


def test_the_t_wave_comes_sooner_when_the_heart_is_fast():
    at_s = []

    for resting_bpm in (50.0, 90.0):
        recording = record(8, leads=("MLII",), resting_bpm=resting_bpm)
        mean = windows(recording, recording.rpeaks, before_s=-0.12, after_s=0.45).mean(axis=0)
        at_s.append(0.12 + mean.argmax() / 250)

    assert at_s[0] / at_s[1] == pytest.approx(np.sqrt(90 / 50), rel=0.12)  # Bazett


@given(seed=SEEDS, kind=st.sampled_from(["noise", "flat", "missing"]))
@MANY
def test_what_hides_the_signal_hides_the_beats_of_the_truth_and_nothing_else(seed, kind):
    clean = record(seed)
    spoilt = record(seed, episodes=(Episode(kind=kind, start_s=20, end_s=32),))

    hidden = slice(20 * 250, 32 * 250)
    outside = (clean.rpeaks < 20 * 250) | (clean.rpeaks >= 32 * 250)
    np.testing.assert_array_equal(spoilt.rpeaks, clean.rpeaks[outside])
    np.testing.assert_array_equal(spoilt.signal_mv[:, : hidden.start], clean.signal_mv[:, : hidden.start])
    np.testing.assert_array_equal(spoilt.signal_mv[:, hidden.stop :], clean.signal_mv[:, hidden.stop :])
    stretch = spoilt.signal_mv[:, hidden]
    if kind == "missing":
        assert np.isnan(stretch).all()
    elif kind == "flat":
        assert np.ptp(stretch) == 0
    else:
        qrs = windows(clean, clean.rpeaks, before_s=0.06, after_s=0.06)
        signal_power = np.median(np.ptp(qrs, axis=1)) ** 2 / 8
        noise_power = np.var(stretch - clean.signal_mv[:, hidden])
        assert 10 * np.log10(signal_power / noise_power) < 0


def test_the_truth_of_a_pause_runs_from_peak_to_peak():
    recording = record(9, episodes=(Episode(kind="pause", start_s=30, end_s=33),))

    (pause,) = recording.episodes
    before = np.searchsorted(recording.rpeaks, round(pause.start_s * 250))
    assert pause.end_s - pause.start_s == pytest.approx(3)
    np.testing.assert_allclose(recording.rpeaks[before : before + 2] / 250, [pause.start_s, pause.end_s], atol=0.003)
    quiet = recording.signal_mv[:, round((pause.start_s + 0.6) * 250) : round((pause.end_s - 0.4) * 250)]
    assert np.ptp(quiet, axis=1).max() < 0.5


def test_a_record_without_a_beat_shows_wander_only():
    recording = record(10, episodes=(Episode(kind="pause", start_s=-3, end_s=63),))

    assert len(recording.rpeaks) == 0
    assert recording.symbols == ()
    assert 0.01 < recording.signal_mv.std() < 0.2
    assert recording.episodes == (Episode(kind="pause", start_s=0.0, end_s=60.0),)


def test_rhythm_changes_stand_at_the_edges_of_their_episodes():
    plan = (
        Episode(kind="af", start_s=0, end_s=10),
        Episode(kind="bigeminy", start_s=20, end_s=30),
        Episode(kind="bradycardia", start_s=40, end_s=60),
    )

    recording = record(11, episodes=plan)

    assert recording.rhythms == ((0, "(AFIB"), (2500, "(N"), (5000, "(B"), (7500, "(N"), (10_000, "(SBR"))


def test_sinus_tachycardia_and_pause_have_no_rhythm_word_of_their_own():
    plan = (Episode(kind="pause", start_s=10, end_s=13), Episode(kind="tachycardia", start_s=25, end_s=50))

    assert record(12, episodes=plan).rhythms == ((0, "(N"),)


def test_annotations_hold_every_beat_rhythm_and_change_of_quality_in_the_order_of_time():
    plan = (Episode(kind="af", start_s=10, end_s=25), Episode(kind="noise", start_s=45, end_s=60))
    recording = record(13, episodes=plan)

    annotations = recording.annotations()

    marks = list(zip(annotations.sample.tolist(), annotations.symbol, annotations.aux, strict=True))
    assert (np.diff(annotations.sample) >= 0).all()
    assert [mark for mark in marks if mark[1] == "+"] == [(0, "+", "(N"), (2500, "+", "(AFIB"), (6250, "+", "(N")]
    assert [mark[0] for mark in marks if mark[1] == "~"] == [11_250, 14_999]
    beats = [(sample, symbol) for sample, symbol, _ in marks if symbol in BEAT_CLASSES]
    assert beats == list(zip(recording.rpeaks.tolist(), recording.symbols, strict=True))


def test_a_long_record_is_the_sum_of_its_blocks():
    # 1,024 beats are drawn at a time: the seam must not show.
    recording = record(14, duration_s=1100.0, rate_hz=128.0, leads=("MLII",), resting_bpm=90.0)

    heights = windows(recording, recording.rpeaks, before_s=0.02, after_s=0.02).max(axis=1)

    assert len(heights) > 1500
    assert heights[1000:1050].min() > 0.8 * np.median(heights)
    assert heights.max() < 1.3 * np.median(heights)
