"""A patient serves one part of a fit only, and what is not known to be normal teaches nothing."""

from dataclasses import replace

import numpy as np
import pytest
from builders import examples
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.cohort import Candidate, choose_normals, draw, normals, split_by_patient
from cardioclarity.errors import NotFoundError

EXAMPLES = [examples(n_beats=12, seed=seed) for seed in range(3)]


def candidate(patient_id, *, seed=0, normal=True, sinus_rhythm=False):
    found = EXAMPLES[seed]
    return Candidate(
        patient_id=patient_id,
        examples=found,
        beats=np.full(len(found.rpeaks), normal),
        classes=np.full(len(found.rpeaks), ""),
        windows=np.full(len(found.window_start), normal),
        rhythms=np.full(len(found.window_start), ""),
        sinus_rhythm=sinus_rhythm,
    )


@given(st.lists(st.integers(0, 30), min_size=3, max_size=40), st.integers(0, 5))
def test_no_patient_serves_two_parts_of_a_fit(patients, seed):
    candidates = [candidate(str(patient)) for patient in patients]

    groups, warnings = split_by_patient(candidates, seed=seed)

    members = {group: {item.patient_id for item in items} for group, items in groups.items()}
    assert all(members.values())
    assert sum(map(len, groups.values())) >= len(candidates)
    if len(set(patients)) >= 3:
        assert sum(map(len, members.values())) == len(set(patients))
        assert sum(map(len, groups.values())) == len(candidates)
    assert bool(warnings) == (len(set(patients)) < 10)


@given(st.permutations([str(i) for i in range(12)]))
def test_the_split_does_not_depend_on_the_order_of_the_records(patients):
    def split(names):
        groups, _ = split_by_patient([candidate(name) for name in names], seed=7)
        return {group: {item.patient_id for item in items} for group, items in groups.items()}

    assert split(patients) == split(sorted(patients))


def test_another_seed_gives_another_split():
    candidates = [candidate(str(i)) for i in range(12)]
    calibrating = [
        tuple(item.patient_id for item in split_by_patient(candidates, seed=seed)[0]["calibrating"])
        for seed in range(8)
    ]

    assert len(set(calibrating)) > 1


def test_one_patient_alone_serves_all_parts_and_the_warning_says_what_that_costs():
    groups, (warning,) = split_by_patient([candidate("only")], seed=0)

    assert [len(items) for items in groups.values()] == [1, 1, 1]
    assert "1 patient " in warning
    assert "say nothing about other patients" in warning


def test_records_without_a_normal_beat_are_left_out():
    chosen, warnings = choose_normals([candidate("a"), candidate("b", normal=False)])

    assert [item.patient_id for item in chosen] == ["a"]
    assert warnings == ("1 of 2 records teach nothing: they do not say which of their beats are normal",)


def test_a_record_of_nothing_but_sinus_rhythm_is_normal_throughout():
    (chosen,), _ = choose_normals([candidate("a", normal=False, sinus_rhythm=True)])

    assert chosen.beats.all()
    assert chosen.windows.all()


def test_where_nothing_is_known_to_be_normal_all_beats_are_taken_and_the_user_hears_of_it():
    chosen, (warning,) = choose_normals([candidate("a", normal=False), candidate("b", normal=False, seed=1)])

    assert len(chosen) == 2
    assert all(item.beats.all() for item in chosen)
    assert "learned as normal" in warning


def test_an_archive_without_a_beat_cannot_be_learned_from():
    empty = Candidate(
        patient_id="a",
        examples=replace(EXAMPLES[0], rpeaks=np.zeros(0, np.int64)),
        beats=np.zeros(0, bool),
        classes=np.zeros(0, "<U1"),
        windows=np.zeros(len(EXAMPLES[0].window_start), bool),
        rhythms=np.full(len(EXAMPLES[0].window_start), ""),
        sinus_rhythm=False,
    )

    with pytest.raises(NotFoundError, match="has a heart beat"):
        choose_normals([empty])


def test_normals_keep_each_mask_with_its_record():
    gathered = normals([candidate("a", seed=0), candidate("b", seed=1, normal=False)])

    assert gathered.records == (EXAMPLES[0], EXAMPLES[1])
    assert [mask.all() for mask in gathered.beats] == [True, False]


def test_a_draw_depends_on_seed_and_name():
    assert draw(1, "a") == draw(1, "a")
    assert len({draw(1, "a"), draw(2, "a"), draw(1, "b")}) == 3
