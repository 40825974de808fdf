"""A strip shows the signal at 25 mm/s and 10 mm/mV, loses no extreme, says what is missing, and stays small."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import RATE_HZ, event, explanation

from cardioclarity.report.strip import LEFT_MM, LONGEST_S, UNIT, definitions, strip, tachogram
from cardioclarity.vocabulary import EventLabel, Head

ORIGIN = LEFT_MM * UNIT
LIMITS = {"bradycardia_bpm": 50.0, "tachycardia_bpm": 100.0}


def drawn(svg):
    return ET.fromstring(svg)


def of_class(svg, name):
    return [element for element in drawn(svg).iter() if element.get("class") == name]


def points(element):
    """Follow the relative lines of a path to (point, 2) absolute places."""
    found = []
    for part in element.get("d").split("M")[1:]:
        numbers = [int(number) for number in re.findall(r"-?\d+", part)]
        found.append(np.cumsum(np.array(numbers).reshape(-1, 2), axis=0))
    return np.concatenate(found) if found else np.zeros((0, 2), int)


def of_signal(signal_mv, rate_hz=RATE_HZ, **changes):
    """Explain an event in the middle of any signal."""
    signal_mv = np.asarray(signal_mv, np.float32)
    here = len(signal_mv) // 2
    row = event(start_sample=here, end_sample=here + 1)
    return explanation(
        row,
        **{
            "rate_hz": rate_hz,
            "n_samples": len(signal_mv),
            "start_sample": 0,
            "signal_mv": signal_mv,
            "reconstruction_mv": np.full(len(signal_mv), np.nan, np.float32),
            "rpeaks": np.zeros(0, np.int64),
            "rr_s": np.zeros(0, np.float32),
            "flagged": np.zeros(0, bool),
            "window_start": np.zeros(1, np.int64),
            "window_readable": np.ones(1, bool),
        }
        | changes,
    )


def traces(svg):
    """The signal's own path: the other trace is the calibration pulse."""
    return next(path for path in of_class(svg, "trace") if "h" not in path.get("d"))


def test_one_second_is_25_mm_and_one_millivolt_is_10_mm():
    signal = np.zeros(3600)
    signal[1800:1810] = 1.0  # 5 s after the strip's begin

    found = points(traces(strip(of_signal(signal))))

    highest = found[found[:, 1].argmin()]
    level = found[:, 1].max()
    assert level - highest[1] == 10 * UNIT
    assert abs(highest[0] - (ORIGIN + 5 * 25 * UNIT)) <= 5


def test_the_calibration_pulse_is_1_mv_high_and_200_ms_wide():
    pulse = of_class(strip(explanation(event())), "trace")[-1].get("d")

    assert f"v-{10 * UNIT}h{5 * UNIT}v{10 * UNIT}" in pulse


def test_the_paper_is_ruled_in_whole_millimetres_and_printed_at_its_true_size():
    root = drawn(strip(explanation(event())))
    _, _, width, height = (int(number) for number in root.get("viewBox").split())

    assert root.get("width") == f"{width / UNIT:.0f}mm"
    assert root.get("height") == f"{height / UNIT:.0f}mm"
    assert f'<pattern id="paper-1" width="{UNIT}" height="{UNIT}"' in definitions()
    assert f'<pattern id="paper-5" width="{5 * UNIT}" height="{5 * UNIT}"' in definitions()


def test_the_zero_line_and_the_first_sample_lie_on_bold_lines_of_the_paper():
    pulse = of_class(strip(explanation(event())), "trace")[-1].get("d")
    zero = int(re.match(r"M\d+ (\d+)", pulse)[1])

    assert zero % (5 * UNIT) == 0
    assert ORIGIN % (5 * UNIT) == 0


@given(
    signal=st.lists(st.floats(-2.0, 2.5, width=32), min_size=2, max_size=400),
    rate_hz=st.sampled_from([100.0, 257.0, 500.0, 1000.0]),
)
@settings(max_examples=40, deadline=None)
def test_no_extreme_of_the_signal_is_lost_by_thinning(signal, rate_hz):
    found = points(traces(strip(of_signal(signal, rate_hz))))

    span_mv = float(np.float32(max(signal)) - np.float32(min(signal)))
    assert abs((found[:, 1].max() - found[:, 1].min()) - span_mv * 10 * UNIT) <= 1.01
    assert (np.diff(found[:, 0]) >= 0).all()


@pytest.mark.parametrize("direction", [1, -1])
def test_a_flank_stays_a_flank_when_it_is_thinned(direction):
    ramp = direction * np.linspace(-1, 1, 2000)

    found = points(traces(strip(of_signal(ramp, 1000.0))))

    assert (-direction * np.diff(found[:, 1]) >= 0).all()


@pytest.mark.parametrize("rate_hz", [100.0, 250.0, 360.0, 1000.0])
def test_a_strip_of_ten_seconds_of_noise_stays_below_15_kb(rate_hz):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.4, round(10 * rate_hz))

    assert len(strip(of_signal(noise, rate_hz))) < 15_000


def test_a_strip_with_reconstruction_and_difference_stays_below_15_kb():
    assert len(strip(explanation(event()))) < 15_000


def test_a_voltage_beyond_the_paper_is_drawn_at_its_edge():
    signal = np.zeros(3600)
    signal[100:200], signal[300:400] = 90.0, -90.0

    svg = strip(of_signal(signal))

    height = max(int(box.get("height")) for box in of_class(svg, "paper"))
    found = points(traces(svg))
    assert found[:, 1].min() >= 0
    assert found[:, 1].max() <= height
    assert height <= 75 * UNIT


def test_missing_samples_are_hatched_where_they_are_and_the_line_is_broken():
    signal = np.zeros(3600)
    signal[720:1080] = np.nan  # from 2 s to 3 s

    svg = strip(of_signal(signal))

    (gap,) = of_class(svg, "gap")
    assert abs(int(gap.get("x")) - (ORIGIN + 50 * UNIT)) <= 1
    assert abs(int(gap.get("width")) - 25 * UNIT) <= 2
    assert traces(svg).get("d").count("M") == 2


def test_a_signal_that_is_missing_altogether_still_gives_a_strip():
    svg = strip(of_signal(np.full(3600, np.nan)))

    (gap,) = of_class(svg, "gap")
    assert int(gap.get("width")) >= 249 * UNIT


def test_the_event_is_shaded_from_its_start_to_its_end():
    at = round(60 * RATE_HZ)
    row = event(start_sample=at, end_sample=at + round(2 * RATE_HZ))

    (span,) = of_class(strip(explanation(row)), "event")

    assert abs(int(span.get("x")) - (ORIGIN + 3 * 25 * UNIT)) <= 1  # the strip begins at 57 s
    assert abs(int(span.get("width")) - 2 * 25 * UNIT) <= 1


def test_an_event_longer_than_the_strip_is_shaded_to_its_ends_and_not_beyond():
    row = event(start_sample=0, end_sample=round(120 * RATE_HZ))

    (span,) = of_class(strip(explanation(row)), "event")

    assert int(span.get("x")) == ORIGIN
    assert int(span.get("width")) == 9 * 25 * UNIT


def test_each_r_peak_is_ticked_and_a_flagged_one_by_another_shape():
    found = explanation(event())
    inside = (found.rpeaks >= found.start_sample) & (found.rpeaks < found.start_sample + len(found.signal_mv))

    svg = strip(found)

    (plain,), (marked,) = of_class(svg, "peak"), of_class(svg, "peak in")
    assert marked.get("d").count("z") == found.flagged.sum() == 1
    assert plain.get("d").count("M") == inside.sum() - 1


def test_the_difference_is_shaded_only_where_the_eye_can_see_it():
    signal = np.zeros(3600)
    made = np.full(3600, 0.02)
    made[1000:1200] = 0.8

    (shaded,) = of_class(strip(of_signal(signal, reconstruction_mv=made.astype(np.float32))), "deviation")

    found = points(shaded)
    seconds = (found[:, 0] - ORIGIN) / (25 * UNIT)
    assert seconds.min() >= 1000 / RATE_HZ - 0.03
    assert seconds.max() <= 1200 / RATE_HZ + 0.03


def test_the_reconstruction_is_drawn_in_one_piece_per_stretch_and_left_out_where_there_is_none():
    made = np.full(3600, np.nan, np.float32)
    made[500:800], made[900:1200] = 0.0, 0.0

    (with_some,) = of_class(strip(of_signal(np.zeros(3600), reconstruction_mv=made)), "made")
    (with_none,) = of_class(strip(of_signal(np.zeros(3600))), "made")

    assert with_some.get("d").count("M") == 2
    assert with_none.get("d") == ""


def test_a_filtered_and_an_unfiltered_signal_say_what_they_are():
    assert "0.5\N{EN DASH}40 Hz" in strip(explanation(event()))
    assert "unfiltered" in strip(explanation(event(), band_hz=None))


def test_a_strip_is_an_image_that_says_lead_length_rate_and_event():
    root = drawn(strip(explanation(event())))

    assert root.get("role") == "img"
    said = root.get("aria-label")
    assert said.startswith("Lead MLII, 9 s from 00:00:57, unusual beat at 2.9 s, ")
    assert said.endswith("beats per minute")


def test_a_lead_or_a_label_that_is_markup_stays_text():
    hostile = '"><script>alert(1)</script>'

    svg = strip(explanation(event(lead=hostile, label=hostile)))

    assert "<script" not in svg
    assert [element.text for element in of_class(svg, "lead")] == [hostile]


def test_the_heart_rate_shows_30_s_before_and_after_the_event():
    svg = tachogram(explanation(event()), **LIMITS)

    labels = [element.text for element in of_class(svg, "time")]
    assert labels[0] == "00:00:30"
    assert labels[-1] == "00:01:30"


def test_the_heart_rate_of_a_long_event_never_spans_more_than_ten_minutes():
    long = event(start_sample=0, end_sample=round(7200 * RATE_HZ))

    svg = tachogram(explanation(long, n_samples=round(7200 * RATE_HZ)), **LIMITS)

    assert of_class(svg, "time")[-1].text <= f"00:{LONGEST_S / 60:02.0f}:00"


def test_each_beat_with_a_known_interval_is_a_point_and_an_unknown_one_breaks_the_line():
    found = explanation(event(), unusual=False)
    rr_s = found.rr_s.copy()
    here = np.abs(found.rpeaks / RATE_HZ - 60).argmin()
    rr_s[here] = np.nan
    shown = np.isfinite(rr_s) & (np.abs(found.rpeaks / RATE_HZ - (60 + 0.125)) <= 30.28)

    svg = tachogram(explanation(event(), unusual=False, rr_s=rr_s), **LIMITS)

    (dots,), (line,) = of_class(svg, "beat"), of_class(svg, "rr")
    assert dots.get("d").count("M") == shown.sum()
    assert line.get("d").count("M") == 2


def test_limits_are_drawn_only_where_the_axis_reaches_them():
    calm = tachogram(explanation(event(), unusual=False), **LIMITS)
    both = tachogram(explanation(event(), unusual=False), bradycardia_bpm=70.0, tachycardia_bpm=80.0)

    assert len(of_class(calm, "limit")) == 1  # 60 to 120 beats per minute: 100 and not 50
    assert len(of_class(both, "limit")) == 2


def test_an_unreadable_stretch_is_hatched_below_the_heart_rate():
    found = explanation(event())  # unreadable from 80 s to 90 s; shown from 29.85 s to 90.4 s

    (bar,) = of_class(tachogram(found, **LIMITS), "unreadable")

    left = (int(bar.get("x")) - ORIGIN) / (9 * 25 * UNIT)
    assert abs(left - (80 - 29.85) / 60.55) < 0.005
    assert abs(int(bar.get("width")) / (9 * 25 * UNIT) - 10 / 60.55) < 0.005


def test_a_stretch_that_is_not_shown_is_not_hatched():
    found = explanation(event())
    first_unreadable = found.window_start > 0

    assert of_class(tachogram(explanation(event(), window_readable=first_unreadable), **LIMITS), "unreadable") == []


def test_a_record_without_a_beat_still_has_a_heart_rate_axis():
    svg = tachogram(of_signal(np.zeros(3600)), **LIMITS)

    assert of_class(svg, "beat")[0].get("d") == ""
    assert len(of_class(svg, "tick")) >= 2


def test_a_pause_reaches_down_to_its_rate():
    rr_s = explanation(event()).rr_s.copy()
    rr_s[70] = 3.5

    svg = tachogram(explanation(event(kind=Head.RATE, label=EventLabel.PAUSE), rr_s=rr_s), **LIMITS)

    assert of_class(svg, "axis")[0].text == "0"


@pytest.mark.parametrize("number", range(6))
def test_every_kind_of_event_is_drawn_as_well_formed_svg(number):
    row = pages.kinds()[number]

    for svg in (strip(explanation(row)), tachogram(explanation(row), **LIMITS)):
        assert drawn(svg).tag == "svg"
