"""A beat is strange by its distance to the record's own late beats, in units of the population, and by coming early."""

from dataclasses import replace

import numpy as np
import pytest
from builders import RATE_HZ, RECIPE, examples, normals
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.detectors.protocol import Normals
from cardioclarity.detectors.template import FEATURES, MORPHOLOGY, FittedTemplate, Template, _features
from cardioclarity.examples import Examples, Recipe

UNUSUAL = (20, 35, 50, 51, 70)


@pytest.fixture(scope="module")
def fitted() -> FittedTemplate:
    training = normals(6, 120, seed=0)
    return Template().fit(training, held_out=training, seed=0)


def _features_of(record: Examples) -> np.ndarray:
    return _features(record, Template().blocks(record), RECIPE)


def only_normal_timing(record: Examples) -> Examples:
    """Every beat on time, so that shape alone can tell."""
    return replace(record, rr_s=np.full(len(record.rpeaks), 0.8, np.float32))


def only_normal_shape(record: Examples) -> Examples:
    """Every beat the same, so that timing alone can tell."""
    rng = np.random.default_rng(0)
    shape = record.beats[2] + rng.normal(0, 0.01, record.beats.shape)
    return replace(record, beats=shape.astype(np.float32))


def test_unusual_beats_rank_above_every_other_beat(fitted):
    record = examples(120, seed=30, unusual=UNUSUAL)

    scores = fitted.score(record)

    others = np.delete(scores, UNUSUAL)
    assert scores[list(UNUSUAL)].min() > 3 * np.nanmax(others)


@pytest.mark.parametrize("alike", [only_normal_timing, only_normal_shape])
def test_shape_alone_and_timing_alone_tell_an_unusual_beat(fitted, alike):
    record = alike(examples(120, seed=31, unusual=(40, 80)))

    scores = fitted.score(record)

    assert np.sort(np.argsort(np.nan_to_num(scores))[-2:]).tolist() == [40, 80]


def test_a_late_beat_is_not_strange(fitted):
    record = only_normal_shape(examples(120, seed=32))
    rr_s = record.rr_s.copy()
    rr_s[60] = 1.6

    paused = fitted.score(replace(record, rr_s=rr_s, late=record.late | (np.arange(120) == 60)))

    assert paused[60] <= np.nanmedian(paused) + 1.0


def test_an_early_beat_scores_higher_the_earlier_it_comes(fitted):
    record = only_normal_shape(examples(120, seed=33))
    scores = []
    for share in (0.9, 0.75, 0.6, 0.45):
        rr_s = record.rr_s.copy()
        rr_s[60] *= share
        scores.append(float(fitted.score(replace(record, rr_s=rr_s))[60]))

    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


def test_most_beats_may_be_unusual_as_long_as_the_late_ones_are_not(fitted):
    unusual = [at for at in range(2, 118) if at % 3]
    record = examples(120, seed=34, unusual=unusual)
    record = replace(record, late=~np.isin(np.arange(120), unusual))

    scores = fitted.score(record)

    normal = np.setdiff1d(np.arange(1, 119), unusual)
    assert scores[unusual].min() > np.nanmax(scores[normal])


def test_the_beat_before_counts_only_where_both_intervals_are_known(fitted):
    record = only_normal_shape(examples(120, seed=34))
    rr_s = record.rr_s.copy()
    rr_s[59] = 1.2 * rr_s[60]
    gap = rr_s.copy()
    gap[59] = np.nan

    after_late, after_gap = (fitted.score(replace(record, rr_s=values))[60] for values in (rr_s, gap))

    assert after_late > after_gap + 1


def test_beats_that_are_not_whole_are_not_scored_and_do_not_shape_the_template(fitted):
    record = examples(120, seed=35)
    whole = record.whole.copy()
    whole[10:20] = False
    garbage = record.beats.copy()
    garbage[10:20] = 1e6

    scores = fitted.score(replace(record, whole=whole))
    with_garbage = fitted.score(replace(record, whole=whole, beats=garbage))

    assert np.isnan(scores[10:20]).all()
    assert np.isfinite(scores[1:10]).all()
    np.testing.assert_array_equal(scores, with_garbage)


def test_a_record_without_a_template_of_its_own_is_not_scored(fitted):
    assert np.isnan(fitted.score(examples(RECIPE.min_beats - 1, seed=36))).all()
    assert np.isfinite(fitted.score(examples(RECIPE.min_beats, seed=36))).any()


def test_an_interval_across_a_gap_says_nothing_about_timing(fitted):
    record = examples(120, seed=37)
    rr_s = record.rr_s.copy()
    rr_s[60] = np.nan
    early = record.rr_s.copy()
    early[60] = 0.3

    unknown, known = (fitted.score(replace(record, rr_s=values))[60] for values in (rr_s, early))

    assert np.isfinite(unknown)
    assert unknown < known - 5


def test_a_record_without_any_known_interval_is_judged_by_shape(fitted):
    record = examples(120, seed=38, unusual=(50,))

    scores = fitted.score(replace(record, rr_s=np.full(120, np.nan, np.float32)))

    assert np.nanargmax(scores) == 50


def test_one_lead_leaves_out_the_terms_of_the_second(fitted):
    two = examples(120, 2, seed=39, unusual=(50,))
    one = replace(two, leads=two.leads[:1], amplitude_mv=two.amplitude_mv[:1], beats=two.beats[:, :1])
    flat = replace(two, beats=np.concatenate([two.beats[:, :1], np.full_like(two.beats[:, 1:], np.nan)], axis=1))

    assert np.nanargmax(fitted.score(one)) == 50
    np.testing.assert_array_equal(fitted.score(one), fitted.score(flat))


def test_further_leads_count_by_their_mean(fitted):
    two = examples(120, 2, seed=40)
    same_again = replace(two, leads=(*two.leads, "V2"), beats=np.concatenate([two.beats, two.beats[:, 1:]], axis=1))

    np.testing.assert_allclose(fitted.score(two), fitted.score(same_again), rtol=1e-5, atol=1e-5)


def test_without_the_first_lead_no_beat_is_scored(fitted):
    record = examples(120, 2, seed=41)
    beats = record.beats.copy()
    beats[:, 0] = np.nan

    assert np.isnan(fitted.score(replace(record, beats=beats))).all()


def test_the_population_scales_the_shape_not_the_record(fitted):
    record = examples(120, seed=42, unusual=(50,))
    wide = replace(fitted, scale=np.where(np.arange(len(FEATURES)) < len(MORPHOLOGY), 100.0, 1.0) * fitted.scale)

    assert fitted.score(record)[50] > 2 * wide.score(record)[50] > 0


def test_a_record_of_wide_intervals_widens_the_timing_and_only_the_timing(fitted):
    rng = np.random.default_rng(0)
    calm = only_normal_shape(examples(120, seed=43))
    rr_calm, rr_restless = calm.rr_s.copy(), (calm.rr_s * rng.uniform(0.6, 1.4, 120)).astype(np.float32)
    rr_calm[60] = rr_restless[60] = 0.55 * np.nanmedian(calm.rr_s)

    def judged(rr_s: np.ndarray) -> float:
        late = np.nan_to_num(rr_s) >= np.nanmedian(rr_s)
        return float(fitted.score(replace(calm, rr_s=rr_s, late=late))[60])

    assert judged(rr_restless) < judged(rr_calm)


def test_a_long_record_has_a_template_per_block_so_that_slow_change_is_no_anomaly(fitted):
    early, late = examples(600, seed=44), examples(300, seed=45)
    n_samples = round(3 * 3600 * RATE_HZ)
    changed = replace(
        early,
        n_samples=n_samples,
        rpeaks=np.linspace(RATE_HZ, n_samples - RATE_HZ, 900).astype(np.int64),
        rr_s=np.concatenate([early.rr_s, late.rr_s]),
        late=np.concatenate([early.late, late.late]),
        beats=np.concatenate([early.beats, late.beats]),
        whole=np.ones(900, bool),
    )

    steady = replace(fitted, quiet=100.0)
    in_blocks = steady.score(changed)
    as_one = replace(steady, settings=Template(block_s=1e9)).score(changed)

    assert Template().blocks(changed) == [slice(0, 300), slice(300, 600), slice(600, 900)]
    assert np.median(in_blocks[600:]) < 2 * np.median(in_blocks[:600])
    assert np.median(as_one[600:]) > 10 * np.median(in_blocks[600:])


@pytest.mark.parametrize(
    ("n_beats", "hours", "n_blocks"), [(120, 0.1, 1), (120, 30, 1), (900, 30, 3), (900, 2.5, 2), (0, 1, 1)]
)
def test_a_block_lasts_an_hour_and_holds_300_beats(n_beats, hours, n_blocks):
    record = replace(examples(120, seed=46), rpeaks=np.arange(n_beats), n_samples=round(hours * 3600 * RATE_HZ))

    blocks = Template().blocks(record)

    assert len(blocks) == n_blocks
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, n_beats)


def test_timing_weighs_more_where_late_was_judged_locally(fitted):
    record = examples(120, seed=47, unusual=(50,))
    record = only_normal_shape(record)
    steady = replace(fitted, quiet=100.0)
    local = replace(steady, settings=Template(local_beats=100))

    ratio = local.score(record)[50] / steady.score(record)[50]

    assert ratio == pytest.approx(Template().local_weight / Template().global_weight, rel=0.05)


@pytest.mark.parametrize("times", [1.0, 2.0, 4.0])
def test_where_late_beats_are_restless_every_score_is_smaller_by_the_logarithm_of_how_much(fitted, times):
    record = examples(120, seed=48, unusual=UNUSUAL)
    steady = replace(fitted, quiet=100.0)
    ((_, total, level),) = steady.totals(record, _features_of(record))

    usual, restless = (replace(fitted, quiet=quiet).score(record) for quiet in (2 * level, level / times))

    np.testing.assert_allclose(usual, total.astype(np.float32))
    expected = np.maximum(usual - Template().restlessness_weight * np.log(times), 0)
    np.testing.assert_allclose(restless, expected, rtol=1e-5, atol=1e-5)
    assert restless[list(UNUSUAL)].min() > np.nanmax(np.delete(restless, UNUSUAL))


def test_the_usual_level_is_that_of_the_middle_record_however_many_blocks_the_others_have():
    training = normals(5, 400, seed=3)
    noisy = examples(1500, seed=9)
    rng = np.random.default_rng(0)
    noisy = replace(noisy, beats=(noisy.beats + rng.normal(0, 0.5, noisy.beats.shape)).astype(np.float32))
    settings = Template(block_s=150.0)
    assert len(settings.blocks(noisy)) == 5

    def fit(*records: Examples) -> FittedTemplate:
        known = Normals(
            records=records,
            patients=tuple(record.record_id for record in records),
            beats=tuple(np.ones(len(record.rpeaks), bool) for record in records),
            windows=tuple(np.ones(len(record.window_start), bool) for record in records),
        )
        return settings.fit(known, held_out=known, seed=0)

    usual, with_noisy = fit(*training.records), fit(*training.records, noisy)

    features = _features(noisy, settings.blocks(noisy), RECIPE)
    assert all(level > 5 * usual.quiet for _, _, level in usual.totals(noisy, features))
    assert with_noisy.quiet < 1.5 * usual.quiet


def test_records_that_a_machine_copied_do_not_make_every_heart_restless(fitted):
    record = examples(120, seed=48, unusual=UNUSUAL)

    copied, floor = (replace(fitted, quiet=quiet).score(record) for quiet in (1e-12, 0.05))

    np.testing.assert_array_equal(copied, floor)


def test_unusual_beats_are_not_what_makes_a_record_restless(fitted):
    unusual = [at for at in range(2, 118) if at % 2]
    record = examples(120, seed=34, unusual=unusual)
    record = replace(record, late=~np.isin(np.arange(120), unusual))

    ((_, total, level),) = fitted.totals(record, _features_of(record))

    assert level < 0.05 * np.median(total[unusual])


def test_too_few_late_beats_give_way_to_all_beats(fitted):
    record = examples(120, seed=48, unusual=(50,))
    few_late = replace(record, late=np.arange(120) < 5)
    all_late = replace(record, late=np.ones(120, bool))

    np.testing.assert_array_equal(fitted.score(few_late), fitted.score(all_late))


def test_the_scale_is_the_median_over_records_so_one_noisy_record_does_not_move_it():
    clean = normals(5, 120, seed=0)
    noisy = replace(clean.records[0], beats=clean.records[0].beats * np.float32(50))
    spoilt = replace(clean, records=(noisy, *clean.records[1:]))

    fitted, fitted_spoilt = (Template().fit(set_, held_out=clean, seed=0) for set_ in (clean, spoilt))

    np.testing.assert_allclose(fitted_spoilt.scale, fitted.scale, rtol=0.5)
    assert fitted_spoilt.quiet == pytest.approx(fitted.quiet, rel=0.5)


def test_only_normal_beats_of_records_with_a_template_teach_the_scale():
    training = normals(4, 120, seed=0)
    with_short = replace(
        training,
        records=(*training.records, examples(20, seed=9)),
        patients=(*training.patients, "short"),
        beats=(*training.beats, np.ones(20, bool)),
        windows=(*training.windows, np.ones(len(examples(20, seed=9).window_start), bool)),
    )
    unmarked = replace(with_short, beats=(*training.beats[:3], np.zeros(120, bool), with_short.beats[4]))

    fit = Template().fit

    assert fit(training, held_out=training, seed=0).arrays() == fit(with_short, held_out=training, seed=0).arrays()
    assert (fit(unmarked, held_out=training, seed=0).scale != fit(training, held_out=training, seed=0).scale).any()


def test_without_any_record_to_learn_from_it_abstains():
    short = normals(3, 20, seed=0)

    fitted = Template().fit(short, held_out=short, seed=0)

    assert np.isnan(fitted.scale).all()
    assert np.isnan(fitted.score(examples(120, seed=1))).all()


def test_identical_beats_give_finite_scores(fitted):
    record = examples(120, seed=49)
    copied = replace(
        record,
        beats=np.repeat(record.beats[2:3], 120, axis=0),
        rr_s=np.full(120, 0.8, np.float32),
        late=np.ones(120, bool),
    )

    assert np.nanmax(fitted.score(copied)) == pytest.approx(0.0, abs=1e-3)


def test_examples_of_another_recipe_are_refused(fitted):
    other = Recipe(beat_after_s=0.6)

    with pytest.raises(AssertionError, match="another recipe"):
        fitted.score(examples(120, recipe=other))


def test_the_scales_are_sealed(fitted):
    with pytest.raises(ValueError, match="read-only"):
        fitted.scale[0] = 1.0


@given(seed=st.integers(100, 10_000), n_beats=st.integers(60, 140), n_leads=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_scores_are_never_negative_never_infinite_and_the_same_twice(fitted, seed, n_beats, n_leads):
    record = examples(n_beats, n_leads, seed)

    scores = fitted.score(record)

    known = scores[np.isfinite(scores)]
    assert len(known) == record.whole.sum()
    assert (known >= 0).all()
    np.testing.assert_array_equal(scores, fitted.score(record))


@given(seed=st.integers(100, 10_000))
@settings(max_examples=5, deadline=None)
def test_the_order_of_the_training_records_does_not_matter(seed):
    training = normals(5, 70, seed=seed)
    order = np.random.default_rng(seed).permutation(5)
    shuffled = replace(
        training,
        records=tuple(training.records[i] for i in order),
        patients=tuple(training.patients[i] for i in order),
        beats=tuple(training.beats[i] for i in order),
        windows=tuple(training.windows[i] for i in order),
    )

    straight, turned = (Template().fit(set_, held_out=training, seed=0).arrays() for set_ in (training, shuffled))

    assert straight == turned
