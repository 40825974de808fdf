"""A window is unreadable exactly where a rule fires on every analysed lead; what beats share, never normality, decides."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from builders import examples, normals
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.detectors.quality import FittedQuality, Quality
from cardioclarity.examples import QUALITY_FEATURES, Examples
from cardioclarity.vocabulary import STATE_REASON_LABEL, StateReason

FITTED = FittedQuality(settings=Quality(), residual_limit=0.1)
CLEAN = {"missing": 0.0, "flat": 0.0, "rails": 0.0, "residual": 0.02, "roughness": 0.01, "rms_mv": 0.2}


@cache
def clean(n_leads: int) -> Examples:
    return examples(60, n_leads, seed=1)


def window(*leads: dict[str, float], peaks: int = 12, sinusoidal: float = 0.2) -> Examples:
    """Examples whose first window has the given features per lead; clean otherwise."""
    record = clean(len(leads))
    quality = record.quality.copy()
    for lead, features in enumerate(leads):
        quality[0, lead] = [(CLEAN | features)[name] for name in QUALITY_FEATURES]
    window_peaks, shares = record.window_peaks.copy(), record.sinusoidal.copy()
    window_peaks[0], shares[0] = peaks, sinusoidal
    return replace(record, quality=quality, window_peaks=window_peaks, sinusoidal=shares)


HARD = [
    ({"missing": 0.06}, StateReason.MISSING_SIGNAL),
    ({"flat": 0.21}, StateReason.FLAT_LINE),
    ({"rails": 0.01}, StateReason.SATURATION),
]
SOFT = [({"residual": 0.11}, StateReason.NOISE), ({"roughness": 0.037}, StateReason.NOISE)]
WITHIN = [{"missing": 0.05}, {"flat": 0.2}, {"rails": 0.0099}, {"residual": 0.1}, {"roughness": 0.036}]


@pytest.mark.parametrize(("features", "reason"), HARD + SOFT)
def test_a_rule_that_fires_on_all_leads_makes_the_window_unreadable_and_is_named(features, reason):
    record = window(features, features)

    assert FITTED.score(record)[0] > 0
    assert FITTED.reasons(record)[0] == reason
    assert set(FITTED.reasons(record)[1:]) == {""}


@pytest.mark.parametrize("features", WITHIN)
def test_at_the_limit_the_window_is_readable(features):
    record = window(features, features)

    assert FITTED.score(record)[0] <= 0
    assert FITTED.reasons(record)[0] == ""


@pytest.mark.parametrize(("features", "_reason"), HARD + SOFT)
@pytest.mark.parametrize("order", [1, -1])
def test_one_clean_lead_is_enough_to_read(features, _reason, order):
    record = window(*({}, features)[::order])

    assert FITTED.score(record)[0] <= 0
    assert FITTED.reasons(record)[0] == ""


def test_leads_may_be_unreadable_for_different_reasons_and_the_first_lead_is_quoted():
    record = window({"flat": 1.0}, {"residual": 0.9})

    assert FITTED.score(record)[0] > 0
    assert FITTED.reasons(record)[0] == StateReason.FLAT_LINE


def test_of_several_rules_the_hard_one_is_quoted():
    record = window({"residual": 0.9, "missing": 0.5, "flat": 0.9})

    assert FITTED.reasons(record)[0] == StateReason.MISSING_SIGNAL


@pytest.mark.parametrize(
    ("peaks", "rms_mv", "readable"), [(1, 0.04, False), (0, 0.0, False), (2, 0.04, True), (1, 0.06, True)]
)
def test_few_peaks_count_only_in_a_weak_signal(peaks, rms_mv, readable):
    record = window({"rms_mv": rms_mv}, {"rms_mv": rms_mv}, peaks=peaks)

    assert (FITTED.score(record)[0] <= 0) is np.bool_(readable)
    assert FITTED.reasons(record)[0] == ("" if readable else StateReason.NO_QRS)


@pytest.mark.parametrize(("features", "_reason"), SOFT)
def test_flutter_overrides_the_soft_rules(features, _reason):
    assert FITTED.score(window(features, sinusoidal=0.46))[0] <= 0
    assert FITTED.score(window(features, sinusoidal=0.45))[0] > 0


@pytest.mark.parametrize(("features", "reason"), HARD)
def test_flutter_does_not_override_the_hard_rules(features, reason):
    record = window(features, sinusoidal=0.99)

    assert FITTED.reasons(record)[0] == reason


def test_fast_wide_beats_without_pauses_are_readable_as_long_as_they_look_alike():
    tachycardia = window({"residual": 0.03, "rms_mv": 0.9}, {"residual": 0.05, "rms_mv": 1.2}, peaks=35, sinusoidal=0.4)
    fibrillation = window({"residual": np.nan, "rms_mv": 0.4}, peaks=0, sinusoidal=0.4)

    assert FITTED.reasons(tachycardia)[0] == ""
    assert FITTED.reasons(fibrillation)[0] == ""


def test_a_feature_that_could_not_be_computed_fires_no_rule():
    record = window(
        {"residual": np.nan, "roughness": np.nan}, {"residual": np.nan, "roughness": np.nan, "rms_mv": np.nan}
    )

    assert FITTED.reasons(record)[0] == ""
    assert np.isfinite(FITTED.score(record)[0])


def test_a_lead_without_any_sample_is_unreadable():
    nothing = {
        "missing": 1.0,
        "flat": np.nan,
        "rails": np.nan,
        "residual": np.nan,
        "roughness": np.nan,
        "rms_mv": np.nan,
    }

    assert FITTED.reasons(window(nothing, nothing, peaks=0))[0] == StateReason.MISSING_SIGNAL


def test_a_flat_line_is_unreadable():
    flat = {"flat": 1.0, "residual": np.nan, "roughness": 0.0, "rms_mv": 0.0}

    assert FITTED.reasons(window(flat, flat, peaks=0))[0] == StateReason.FLAT_LINE


def test_the_limit_of_the_residual_is_the_quantile_of_normal_windows_on_the_first_lead():
    training = normals(3, 400, seed=0)
    marked = []
    for record in training.records:
        quality = record.quality.copy()
        quality[:, 0, QUALITY_FEATURES.index("residual")] *= 10  # as noisy recorders are, beyond the least limit
        quality[:, 1, QUALITY_FEATURES.index("residual")] = 0.9  # the second lead does not count
        quality[0, :, QUALITY_FEATURES.index("residual")] = 0.8  # and this window is not normal
        marked.append(replace(record, quality=quality))
    masks = tuple(np.arange(len(record.window_start)) > 0 for record in marked)
    training = replace(training, records=tuple(marked), windows=masks)

    fitted = Quality(nominal=0.1).fit(training, held_out=training, seed=0)

    residual = np.concatenate([record.quality[1:, 0, QUALITY_FEATURES.index("residual")] for record in marked])
    assert np.mean(residual > fitted.residual_limit) == pytest.approx(0.1, abs=1.5 / len(residual))


def test_without_any_normal_window_the_limit_is_the_documented_one():
    training = normals(2, 60, seed=0)
    none = replace(training, windows=tuple(np.zeros_like(mask) for mask in training.windows))

    assert Quality().fit(none, held_out=none, seed=0).residual_limit == pytest.approx(0.036)


def test_very_clean_recordings_do_not_make_the_limit_of_the_residual_stricter():
    clean = normals(3, 400, seed=0)

    fitted = Quality().fit(clean, held_out=clean, seed=0)

    assert max(record.quality[:, 0, QUALITY_FEATURES.index("residual")].max() for record in clean.records) < 0.036
    assert fitted.residual_limit == pytest.approx(0.036)


@given(
    features=st.lists(
        st.fixed_dictionaries(
            {
                "missing": st.floats(0, 1, width=32),
                "flat": st.floats(0, 1, width=32),
                "rails": st.floats(0, 1, width=32),
                "residual": st.floats(0, 2, width=32) | st.just(np.nan),
                "roughness": st.floats(0, 2, width=32) | st.just(np.nan),
                "rms_mv": st.floats(0, 10, width=32) | st.just(np.nan),
            }
        ),
        min_size=1,
        max_size=3,
    ),
    peaks=st.integers(0, 40),
    sinusoidal=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_score_and_reason_agree_and_the_score_is_finite(features, peaks, sinusoidal):
    record = window(*features, peaks=peaks, sinusoidal=sinusoidal)

    score, reason = FITTED.score(record)[0], FITTED.reasons(record)[0]

    assert np.isfinite(score)
    assert (score > 0) == (reason != "")
    assert reason == "" or StateReason(reason) in STATE_REASON_LABEL


@given(
    lower=st.floats(0, 1, width=32),
    step=st.floats(0, 1, width=32),
    name=st.sampled_from(["missing", "flat", "rails", "residual", "roughness"]),
)
@settings(max_examples=60, deadline=None)
def test_a_worse_window_never_scores_lower(lower, step, name):
    better, worse = (FITTED.score(window({name: value}))[0] for value in (lower, lower + step))

    assert better <= worse
