"""An explanation leads from an event's row back to the very samples, beats and windows that raised it."""

import dataclasses

import numpy as np
import pytest
from roots import ILL, scored

from cardioclarity import models
from cardioclarity.errors import DamageError, NotFoundError
from cardioclarity.examples import prepare
from cardioclarity.explain import Explanation, _of_record, _redrawn, _signal, explain
from cardioclarity.filtering import band_pass
from cardioclarity.segments.read import read
from cardioclarity.storage import open_storage
from cardioclarity.tables import catalog
from cardioclarity.vocabulary import EventLabel, Head

N_SHOWN = round(9 * ILL.rate_hz)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return open_storage(scored(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def model_id(root):
    return models.champion(root)


@pytest.fixture(scope="module")
def events(root, model_id):
    return catalog.events(root, model_id=model_id)


@pytest.fixture(scope="module")
def explanations(root, model_id, events):
    return list(explain(root, events, model_id=model_id))


@pytest.fixture(scope="module")
def of_ill(events):
    """The events of the ill patient: the only one with a flat line."""
    (ill,) = {event["record_id"] for event in events if event["label"] == EventLabel.FLAT_LINE}
    return [event for event in events if event["record_id"] == ill]


@pytest.fixture(scope="module")
def explained(explanations, of_ill):
    """What explains them."""
    return [e for e in explanations if e.event in of_ill]


@pytest.fixture(scope="module")
def ill(root, of_ill):
    """The record of the ill patient."""
    segment = next(s for s in catalog.segments(root) if s.segment_id == of_ill[0]["segment_id"])
    only = {of_ill[0]["record_id"]}
    return next(record for _, record in read(root, segment.segment_id, digest=segment.digest, only=only))


def first(explanations, **wanted) -> Explanation:
    return next(e for e in explanations if all(e.event[name] == value for name, value in wanted.items()))


def test_there_is_one_explanation_per_event_in_the_order_of_the_events(events, explanations):
    assert [e.event["event_id"] for e in explanations] == [event["event_id"] for event in events]
    assert len(events) >= 6


def test_any_other_order_of_events_is_kept_too(root, model_id, events):
    shuffled = events[::-1][:4]

    assert [e.event for e in explain(root, shuffled, model_id=model_id)] == shuffled


def test_no_event_needs_no_explanation(root, model_id):
    assert list(explain(root, [], model_id=model_id)) == []


def test_a_strip_begins_3_s_before_the_onset_and_shows_9_s(explained):
    pause = first(explained, label=EventLabel.PAUSE)

    assert pause.start_sample == pause.event["start_sample"] - N_SHOWN // 3
    assert len(pause.signal_mv) == N_SHOWN


def test_a_strip_never_leaves_the_record(explanations):
    for e in explanations:
        assert e.start_sample >= 0
        assert e.start_sample + len(e.signal_mv) <= e.n_samples


def test_the_signal_is_the_one_that_the_whole_record_filtered_as_the_model_filters_gives(
    root, model_id, explained, ill
):
    recipe = models.load(root, model_id).recipe
    pause = first(explained, label=EventLabel.PAUSE)
    lead = ill.leads.index(pause.event["lead"])
    whole = band_pass(ill.millivolts()[lead], rate_hz=ill.rate_hz, low_hz=recipe.low_hz, high_hz=recipe.high_hz)

    expected = whole[pause.start_sample : pause.start_sample + N_SHOWN]

    np.testing.assert_allclose(pause.signal_mv, expected, atol=2e-4)
    assert pause.band_hz == (recipe.low_hz, recipe.high_hz)


def test_an_unreadable_stretch_is_shown_as_recorded_since_a_filter_hides_what_is_wrong(explained, ill):
    flat = first(explained, label=EventLabel.FLAT_LINE)
    raw = ill.millivolts()[ill.leads.index(flat.event["lead"])][flat.start_sample : flat.start_sample + N_SHOWN]

    assert flat.band_hz is None
    np.testing.assert_allclose(np.diff(flat.signal_mv), np.diff(raw), atol=1e-6)
    assert abs(np.median(flat.signal_mv)) < 1e-6


def test_the_beats_are_those_of_the_preparation(root, model_id, explained, ill):
    examples = prepare(ill, models.load(root, model_id).recipe)

    for e in explained:
        np.testing.assert_array_equal(e.rpeaks, examples.rpeaks)
        np.testing.assert_array_equal(e.rr_s, examples.rr_s)


def test_an_event_of_the_beat_head_names_its_flagged_beats_and_no_other_event_does(explanations):
    for e in explanations:
        inside = (e.rpeaks >= e.event["start_sample"]) & (e.rpeaks < e.event["end_sample"])
        assert not (e.flagged & ~inside).any()
        assert e.flagged.any() == (e.event["kind"] == Head.BEAT)


def test_an_event_of_several_beats_leaves_the_ordinary_beats_between_them_unflagged(explained):
    longest = max(explained, key=lambda e: e.flagged.sum())
    inside = (longest.rpeaks >= longest.event["start_sample"]) & (longest.rpeaks < longest.event["end_sample"])

    assert 2 <= longest.flagged.sum() < inside.sum()


def test_the_flat_stretch_is_unreadable_and_the_rest_mostly_readable(explained):
    e = explained[0]
    seconds = e.window_start / e.rate_hz

    assert not e.window_readable[(seconds >= 100) & (seconds < 119)].any()
    assert e.window_readable.mean() > 0.6


def test_only_events_of_the_beat_head_have_a_reconstruction(explanations):
    for e in explanations:
        is_drawn = bool(np.isfinite(e.reconstruction_mv).any())
        assert is_drawn == (e.event["kind"] == Head.BEAT)
        assert e.without_reconstruction == ""


def test_ordinary_beats_lie_on_their_reconstruction_and_flagged_ones_do_not(explained):
    """What the eye must see: were beats pasted 20 ms or 0.2 mV off their place, ordinary ones would not fit either."""
    e = first(explained, kind=Head.BEAT)
    time = e.start_sample + np.arange(len(e.signal_mv))
    error = np.abs(e.signal_mv - e.reconstruction_mv)
    drawn = np.isfinite(error)
    near = np.abs(time[:, None] - e.rpeaks).argmin(axis=1)
    is_near = np.abs(time - e.rpeaks[near]) < 0.2 * e.rate_hz
    flagged = e.flagged[near]

    ordinary = np.median(error[drawn & is_near & ~flagged])
    unusual = np.median(error[drawn & is_near & flagged])

    assert ordinary < 0.08
    assert unusual > 3 * ordinary


class Mirror:
    """A member that draws every beat again exactly as it was cut."""

    def __init__(self, window):
        self.window = window

    def reconstruct(self, examples):
        return getattr(examples, self.window)


@pytest.mark.parametrize("window", ["beats", "long"])
def test_a_beat_is_pasted_exactly_where_it_was_cut(root, model_id, of_ill, ill, window):
    """Drawn again without error, beats must cover the signal: alignment, offset, amplitude and rates undone."""
    model = dataclasses.replace(models.load(root, model_id), members={"mirror": Mirror(window)})
    evidence = models.load(root, model_id).evidence(prepare(ill, model.recipe))
    beat = [event for event in of_ill if event["kind"] == Head.BEAT]

    for e in _of_record(ill, beat, model, evidence, 1e-3):
        error = np.abs(e.signal_mv - e.reconstruction_mv)
        steepest = np.abs(np.diff(e.signal_mv)).max()
        assert np.isfinite(error).mean() > 0.4
        assert np.nanmedian(error) < 0.005
        assert np.nanmax(error) < max(0.05, steepest)  # less than one sample off, on the steepest flank


def without(model, *names):
    return dataclasses.replace(model, members={k: v for k, v in model.members.items() if k not in names})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model, event: (without(model, "ae-dense"), event), "the model has no autoencoder"),
        (lambda model, event: (model, event | {"lead": "V1"}), "the autoencoder reads another lead"),
        (lambda model, event: (model, event | {"start_sample": 0}), ""),
    ],
)
def test_a_beat_event_without_a_reconstruction_says_why(root, model_id, of_ill, ill, change, reason):
    model, event = change(models.load(root, model_id), next(e for e in of_ill if e["kind"] == Head.BEAT))
    evidence = models.load(root, model_id).evidence(prepare(ill, model.recipe))

    (e,) = _of_record(ill, [event], model, evidence, 1e-3)

    assert e.without_reconstruction == reason
    assert np.isnan(e.reconstruction_mv).all() == bool(reason)


def test_beats_that_the_autoencoder_cannot_read_are_said_to_be_so(root, model_id, of_ill, ill):
    short = ill.head(4.0)
    model = models.load(root, model_id)
    examples = prepare(short, model.recipe)
    event = next(e for e in of_ill if e["kind"] == Head.BEAT) | {"start_sample": 0, "end_sample": 100}
    nothing_whole = dataclasses.replace(examples, whole=np.zeros_like(examples.whole))
    _, _, wide = _signal(short, event, model.recipe, 0, short.n_samples)

    made, reason = _redrawn(model, nothing_whole, event["lead"], wide, slice(0, short.n_samples))

    assert reason == "the autoencoder cannot read these beats"
    assert np.isnan(made).all()


def test_a_record_of_ten_seconds_is_shown_whole(root, model_id, of_ill, ill):
    short = ill.head(10.0)
    model = models.load(root, model_id)
    event = of_ill[0] | {"kind": Head.RATE, "start_sample": 1000, "end_sample": 1200}

    (e,) = _of_record(short, [event], model, model.evidence(prepare(short, model.recipe)), 1e-3)

    assert (e.start_sample, len(e.signal_mv)) == (0, short.n_samples)


def test_an_unknown_model_is_not_found(root, events):
    with pytest.raises(NotFoundError, match="no model"):
        list(explain(root, events, model_id="0" * 32))


def test_a_segment_that_is_damaged_is_never_drawn(root, model_id, events, tmp_path):
    copy = open_storage(str(tmp_path / "copy"))
    for listed in root.list():
        data = root.fetch(listed.key)
        is_shard = listed.key.startswith(f"segments/{events[0]['segment_id']}.zarr/signal/c/")
        copy.put_new(listed.key, bytes([data[0] ^ 1]) + data[1:] if is_shard else data)

    with pytest.raises(DamageError):
        list(explain(copy, events[:1], model_id=model_id))
