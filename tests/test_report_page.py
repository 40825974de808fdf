"""The page adds up, claims nothing, carries no script, and lets no text of a record become markup."""

import dataclasses
import datetime as dt
import re
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import LIMITS, event, explanation, records, run, view

from cardioclarity.report.page import render
from cardioclarity.report.view import Expectation, Quarantine, RecordRow
from cardioclarity.report.words import MEND, clock, p_in_words, seconds_in_words, value_in_words
from cardioclarity.sheet import text
from cardioclarity.vocabulary import EventLabel, Head, Reason, State

HOSTILE = """"'><script>alert(1)</script><img src=x onerror=alert(2)></style></svg>&amp;\u202egnp.exe\0"""
TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reading(HTMLParser):
    """What a browser would make of a page: its tags, its attributes, its text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words, self.open = set(), [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page():
    return render(view())


@pytest.fixture(scope="module")
def reading(page):
    return Reading(page)


def small(**changes):
    """A page of two events: fast to write."""
    events = pages.kinds()[:2]
    drawn = {row["event_id"]: explanation(row) for row in events}
    return view(**{"events": events, "explanations": drawn} | changes)


def test_every_tag_is_closed_and_none_can_load_or_run_anything(reading):
    assert reading.open == []
    assert not reading.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "video", "audio"}


def test_the_page_names_no_address_but_places_within_itself(page, reading):
    links = [value for name, value in reading.attributes if name in ("href", "src", "action", "data", "xlink:href")]

    assert all(link.startswith("#") for link in links)
    assert not re.search(r"https?:|//|@import", page.replace("<!doctype html>", ""))
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#paper-1", "#paper-5", "#hatch"}


def test_no_attribute_is_an_event_handler(reading):
    assert not [name for name, _ in reading.attributes if name.startswith("on")]


def test_the_policy_forbids_everything_but_styles_and_inline_images(reading):
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in reading.attributes


def test_every_place_that_a_link_or_label_points_to_is_there(reading):
    places = {value for name, value in reading.attributes if name == "id"}
    wanted = {value.removeprefix("#") for name, value in reading.attributes if name in ("href", "aria-labelledby")}

    assert wanted <= places
    assert len(places) == len([name for name, _ in reading.attributes if name == "id"])


def test_fifty_strips_of_noise_make_a_page_below_two_megabytes():
    rng = np.random.default_rng(0)
    events = pages.kinds()[:50]
    noisy = {
        row["event_id"]: explanation(
            row,
            rate_hz=1000.0,
            signal_mv=rng.normal(0, 0.4, 10_000).astype(np.float32),
            reconstruction_mv=np.zeros(10_000, np.float32),
        )
        for row in events
    }

    assert len(render(view(events=events, explanations=noisy)).encode()) < 2_000_000


def test_the_numbers_add_up(page):
    counts = {
        word: int(number.replace("\u202f", ""))
        for word, number in re.findall(r'<div class="tile [a-z]+"><dt>([^<]+)</dt><dd>([^<]+)</dd>', page)
    }

    assert counts.pop("records read") == sum(counts.values()) == 12_431
    assert set(counts) == {"nothing flagged", "flagged", "unreadable", "not scorable", "quarantined"}


def test_the_account_of_the_run_stands_as_a_sum(reading):
    assert "12 431 inputs = 480 done + 8 quarantined + 11 943 already done." in reading.text.replace("\u202f", " ")


def test_what_chance_would_give_stands_beside_what_was_found():
    expectations = (
        Expectation(head=Head.BEAT, alarms_per_hour=0.5, hours=410.0, found=231),
        Expectation(head=Head.RHYTHM, alarms_per_hour=1 / 24, hours=410.0, found=3),
    )

    said = Reading(render(small(expectations=expectations))).text

    assert (
        "At 0.5 per hour, 410 hours of readable ECG would raise about 205 alarms by chance if all of it were normal;"
        " 231 were found." in said
    )
    assert "At 1 per day, 410 hours of readable ECG would raise about 17 alarms" in said


def test_the_research_use_text_stands_in_full_and_nothing_is_called_a_normal_ecg(reading):
    assert (
        "For research use only. Not a medical device. Not for diagnosis, treatment, monitoring or alarm. An absence of "
        "events does not mean a normal ECG. Every finding needs review by a qualified person." in reading.text
    )
    assert reading.text.lower().count("normal ecg") == reading.text.count("does not mean a normal ECG")


def test_every_event_is_a_row_with_its_words_and_the_first_strips_are_open(page):
    first = re.search(r'<tbody><tr><th scope="row"><span class="badge.*?</tbody>', page, re.DOTALL)[0]

    said = Reading(first).text
    for word in ("▲ high", "pause rate", "a1b2c3d4", "00:00:59", "3.1 s, limit 2", "fixed rule", "MLII"):
        assert word in said
    assert page.count("<details open>") == 2
    assert page.count("<details") == 50


def test_severity_is_said_in_a_word_and_a_shape(reading):
    for severity, shape in (("high", "▲"), ("medium", "◆"), ("low", "●")):
        assert f"{shape} {severity}" in reading.text


def test_a_page_with_more_events_or_records_than_fit_says_where_the_rest_is():
    said = Reading(render(small())).text.replace("\u202f", " ")

    assert "Events, worst first, the first 2 of 8 599" in said
    assert "All of them stand in the table events ." in said
    assert f"Records, flagged first, the first {len(records())} of 12 414" in said
    assert "All of them stand in the table scores ." in said


def test_a_page_that_shows_all_events_and_records_speaks_of_no_rest():
    said = Reading(render(small(n_events=2, counts={State.NORMAL: len(records())}))).text

    assert "the first" not in said
    assert "All of them stand" not in said


def test_a_run_that_found_nothing_says_so_without_calling_it_normal():
    empty = view(
        events=(),
        n_events=0,
        explanations={},
        event_counts={},
        records=(),
        quarantine=(),
        unreadable_s={},
        counts={},
        expectations=(),
    )

    said = Reading(render(empty)).text

    assert "Nothing was flagged. That does not mean that the ECGs are normal." in said
    assert "Nothing is in quarantine." in said
    assert "No record has been scored by this model." in said
    assert "No stretch of signal was found unreadable." in said


def test_an_event_without_a_strip_says_so():
    assert "There is no strip for this event." in Reading(render(small(explanations={}))).text


def test_a_strip_without_reconstruction_says_why():
    row = event()
    bare = explanation(
        row, reconstruction_mv=np.full(3240, np.nan, np.float32), without_reconstruction="the model has no autoencoder"
    )

    said = Reading(render(small(events=[row], explanations={row["event_id"]: bare}))).text

    assert "no reconstruction: the model has no autoencoder" in said
    assert "difference" not in said.split("How to read")[0]


def test_warnings_stand_before_everything_else():
    said = Reading(render(small(warnings=("Segment 5 is damaged.",)))).text

    assert said.index("Segment 5 is damaged.") < said.index("What became of the records")


def test_quarantine_says_reason_count_example_and_what_to_do(reading):
    assert "truncated 14 the signal file has 1,902,145 bytes" in reading.text
    assert MEND[Reason.TRUNCATED] in reading.text


def test_every_reason_of_the_quarantine_has_a_mend():
    assert set(MEND) == set(Reason)
    assert all(sentence.endswith(".") for sentence in MEND.values())


def test_a_reason_that_a_newer_version_added_still_gives_a_row():
    said = Reading(render(small(quarantine=(Quarantine(reason="made_up", count=1, example="?"),)))).text

    assert "made up 1 ?" in said


def hostile_model():
    """A model whose every text is hostile."""
    sound = pages.model()
    measured = sound.measured["beat"]
    worst = tuple(dataclasses.replace(one, what=HOSTILE) for one in measured.worst_patients)
    classes = tuple(dataclasses.replace(one, what=HOSTILE) for one in measured.classes)
    patient = dataclasses.replace(sound.realised[0].worst[0], what=HOSTILE)
    return pages.model(
        detectors=(HOSTILE,),
        measured={HOSTILE: dataclasses.replace(measured, item=HOSTILE, classes=classes, worst_patients=worst)},
        realised=(dataclasses.replace(sound.realised[0], head=HOSTILE, worst=(patient,)),),
        failures=(HOSTILE,),
        not_measured=(HOSTILE,),
    )


def hostile_view():
    """A view in which every text is hostile."""
    row = event(**dict.fromkeys(("event_id", "record_id", "kind", "label", "lead", "severity"), HOSTILE))
    record = dataclasses.replace(records()[0], record_id=HOSTILE)
    return view(
        run=run(run_id=HOSTILE, state=HOSTILE, model_id=HOSTILE, code_version=HOSTILE, finished_at=None),
        model=hostile_model(),
        warnings=(HOSTILE,),
        quarantine=(Quarantine(reason=HOSTILE, count=1, example=HOSTILE),),
        events=[row],
        explanations={HOSTILE: explanation(row, without_reconstruction=HOSTILE)},
        event_counts={(HOSTILE, HOSTILE): {HOSTILE: 1}},
        records=[record],
        unreadable_s={HOSTILE: 60.0},
    )


def test_no_text_of_a_record_becomes_markup(reading):
    hostile = Reading(render(hostile_view()))

    assert hostile.open == []
    assert hostile.tags <= reading.tags
    assert {name for name, _ in hostile.attributes} <= {name for name, _ in reading.attributes}
    assert hostile.text.count("<script>alert(1)</script>") >= 10
    assert "\u202e" not in hostile.text
    assert "\0" not in hostile.text


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_through_as_text_and_nothing_else(value):
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)

    reading = Reading(f'<p title="{text(value)}">{text(value)}</p>')

    assert reading.tags == {"p"}
    assert reading.attributes == [("title", shown)]
    assert "".join(reading.words) == shown


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, State.UNSCORABLE),
        (dict.fromkeys(Head, State.NORMAL), State.NORMAL),
        (dict.fromkeys(Head, State.UNREADABLE), State.UNREADABLE),
        (dict.fromkeys(Head, State.NORMAL) | {Head.BEAT: State.ANOMALOUS}, State.ANOMALOUS),
        (dict.fromkeys(Head, State.UNREADABLE) | {Head.RATE: State.ANOMALOUS}, State.ANOMALOUS),
        (dict.fromkeys(Head, State.NORMAL) | {Head.QUALITY: State.ANOMALOUS}, State.NORMAL),
        (dict.fromkeys(Head, State.NORMAL) | {Head.QUALITY: State.UNREADABLE}, State.UNREADABLE),
        (dict.fromkeys(Head, State.NORMAL) | {Head.RHYTHM: State.UNSCORABLE}, State.UNSCORABLE),
    ],
)
def test_a_record_is_only_called_nothing_flagged_where_rate_rhythm_and_beat_were_answered(states, expected):
    row = RecordRow(
        record_id="a", duration_s=1.0, states=states, heart_rate_bpm=(None,) * 3, n_beats=0, readable=0.0, n_events=0
    )

    assert row.state is expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.7, "0.7 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (130, "2 min 10 s"),
        (3599.7, "1 h 00 min"),
        (11100, "3 h 05 min"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds, words):
    assert seconds_in_words(seconds) == words


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "00:00:00"), (59.99, "00:00:59"), (90061.5, "25:01:01")])
def test_a_clock_never_runs_ahead(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("p_value", "words"),
    [
        (None, "fixed rule"),
        (0.0123, "0.012"),
        (3.1e-7, f"3.1 {TIMES} 10 {MINUS}7"),
        (9.96e-5, f"1.0 {TIMES} 10 {MINUS}4"),
        (0.0, "0"),
    ],
)
def test_a_p_value_has_two_digits(p_value, words):
    assert Reading(f"<p>{p_in_words(p_value)}</p>").text.replace("\xa0", " ") == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": Head.RATE, "label": EventLabel.TACHYCARDIA, "score": 162.4}, "162 bpm, limit 100"),
        ({"kind": Head.RATE, "label": EventLabel.BRADYCARDIA, "score": 38.6}, "39 bpm, limit 50"),
        ({"kind": Head.RATE, "label": EventLabel.PAUSE, "score": 3.12}, "3.1 s, limit 2"),
        ({"kind": Head.BEAT, "score": 18.24}, "score 18.2"),
        ({"kind": Head.QUALITY, "label": EventLabel.NOISE}, ""),
    ],
)
def test_a_value_stands_with_the_limit_that_it_passed(changes, words):
    assert value_in_words(event(**changes), LIMITS) == words


def test_a_value_whose_limit_is_unknown_stands_alone():
    assert value_in_words(event(label=EventLabel.PAUSE, score=3.12), {}) == "3.1 s"


def test_times_are_said_in_utc():
    east = dt.timezone(dt.timedelta(hours=5))

    said = Reading(render(small(run=run(started_at=dt.datetime(2026, 11, 26, 3, 30, tzinfo=east))))).text

    assert "25 November 2026, 22:30 UTC" in said


def contrast(one, other):
    """WCAG 2.2: contrast ratio of two colours, each as #rrggbb."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_contrasts_by_4_5_and_the_grid_stays_behind_the_trace(scheme):
    css = (resources.files("cardioclarity.sheet") / "sheet.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))

    for ink, ground in (
        *((ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("sheet", "ground")),
        ("ink", "notice"),
        *((severity, f"{severity}-ground") for severity in ("high", "medium", "low")),
        *((ink, "paper") for ink in ("quiet", "mark", "trace")),
    ):
        assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)
    assert contrast(colour["made"], colour["paper"]) >= 3
    assert contrast(colour["fine"], colour["paper"]) <= 1.5
    assert contrast(colour["bold"], colour["paper"]) <= 2.1
    assert contrast(colour["trace"], colour["bold"]) >= 7
