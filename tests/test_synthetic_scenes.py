"""The demo's patients differ, their episodes have room, and a seed decides all of it."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cardioclarity.synthetic.scenes import TWELVE_LEADS, demo_scenes, short_scene

SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=40, deadline=None)


def group(scene) -> str:
    return scene.name.partition("/")[0]


@given(seed=SEEDS)
@MANY
def test_a_seed_decides_every_patient(seed):
    assert demo_scenes(seed) == demo_scenes(seed)
    assert {scene.seed for scene in demo_scenes(seed)}.isdisjoint(scene.seed for scene in demo_scenes(seed + 1))


@given(seed=SEEDS)
@MANY
def test_names_and_patients_are_distinct(seed):
    scenes = demo_scenes(seed)

    assert len({scene.name for scene in scenes}) == len(scenes)
    assert len({scene.seed for scene in scenes}) == len(scenes)
    assert Counter(map(group, scenes)) == {"normal": 12, "episodes": 10, "short": 6, "edge": 4}


@given(seed=SEEDS)
@MANY
def test_normal_patients_have_nothing_but_sinus_rhythm_of_an_ordinary_rate(seed):
    for scene in demo_scenes(seed):
        if group(scene) == "normal":
            assert scene.episodes == ()
            assert scene.pvc_per_hour == scene.pac_per_hour == 0
            assert 55 <= scene.resting_bpm <= 95
            assert 600 <= scene.duration_s <= 900


@given(seed=SEEDS)
@MANY
def test_episodes_lie_inside_their_record_with_room_between_them(seed):
    for scene in demo_scenes(seed):
        if group(scene) != "episodes":
            continue
        edges = [0.0, *(t for episode in scene.episodes for t in (episode.start_s, episode.end_s)), scene.duration_s]
        gaps = [later - earlier for earlier, later in zip(edges[::2], edges[1::2], strict=True)]
        assert min(gaps) > 19.9
        assert 360 <= scene.duration_s <= 600


@given(seed=SEEDS)
@MANY
def test_pauses_last_from_2_5_to_4_seconds(seed):
    lengths = [
        episode.end_s - episode.start_s
        for scene in demo_scenes(seed)
        if group(scene) == "episodes"
        for episode in scene.episodes
        if episode.kind == "pause"
    ]

    assert len(lengths) >= 5
    assert 2.5 <= min(lengths) <= max(lengths) <= 4


def test_every_kind_of_episode_and_of_patient_is_there():
    scenes = [scene for scene in demo_scenes(0) if group(scene) == "episodes"]

    kinds = {episode.kind for scene in scenes for episode in scene.episodes}
    assert kinds == {"pause", "tachycardia", "bradycardia", "af", "bigeminy", "noise", "flat", "missing"}
    assert sum(scene.wide_qrs for scene in scenes) == 1
    assert any(scene.inverted_t for scene in scenes)
    assert any(scene.pvc_per_hour for scene in scenes)
    assert any(scene.pac_per_hour for scene in scenes)
    assert {scene.rate_hz for scene in scenes} == {250.0, 360.0}
    assert {scene.leads for scene in scenes} == {("MLII", "V1"), ("MLII", "V5")}


def test_what_is_hardly_a_record_is_there_too():
    edge = {scene.name: scene for scene in demo_scenes(0) if group(scene) == "edge"}

    assert edge["edge/five-seconds"].duration_s == 5
    for name, kinds in (("no-beats", {"pause"}), ("flat", {"flat"}), ("noise", {"pause", "noise"})):
        scene = edge[f"edge/{name}"]
        assert {episode.kind for episode in scene.episodes} == kinds
        assert all(e.start_s <= 0 and e.end_s >= scene.duration_s for e in scene.episodes)


@pytest.mark.parametrize("number", [0, 8, 9, 1999])
def test_every_tenth_of_many_short_records_fibrillates(number):
    scene = short_scene(number, seed=3, leads=TWELVE_LEADS)

    assert scene.duration_s == 10
    assert [episode.kind for episode in scene.episodes] == ["af"] * (number % 10 == 9)


def test_a_short_record_depends_on_its_number_and_seed_alone():
    one = short_scene(1234, seed=3, leads=("II",))

    assert one == short_scene(1234, seed=3, leads=("II",))
    assert one.name == "0001/0001234"
    assert one.seed != short_scene(1234, seed=4, leads=("II",)).seed
    assert one.seed != short_scene(1235, seed=3, leads=("II",)).seed
