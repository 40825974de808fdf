"""The whole road on the synthetic archive holds what is promised against its truth."""

import json

import pytest

from cardioclarity.__main__ import app
from cardioclarity.demo import _half_inside, _scored, play
from cardioclarity.storage import open_storage
from cardioclarity.synthetic import write_archive


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """One demo, with what it said."""
    said = []
    root = tmp_path_factory.mktemp("demo") / "root"
    return play(archive=None, root=str(root), seed=0, say=said.append), said, root


def test_premature_beats_rank_above_normal_ones(played):
    found = played[0].comparison

    assert found.beat_auroc >= 0.95
    assert found.beats_missed <= 1  # of 146


def test_every_pause_tachycardia_and_bradycardia_is_found(played):
    found = played[0].comparison

    assert found.rate_episodes_found == found.rate_episodes > 10


def test_most_irregular_rhythms_are_found(played):
    found = played[0].comparison

    assert 2 * found.rhythm_episodes_found > found.rhythm_episodes > 5


def test_normal_patients_raise_at_most_twice_the_stated_alarms(played):
    found = played[0].comparison

    assert found.normal_hours > 2
    assert found.normal_alarms <= 2 * found.stated_alarms_per_hour * found.normal_hours


def test_every_broken_file_is_in_quarantine_for_the_right_reason(played):
    found = played[0].comparison

    assert found.broken_quarantined == found.broken == 7


def test_no_flat_line_is_called_normal(played):
    found = played[0].comparison

    assert found.flat_stretches == 3
    assert found.flat_called_normal == 0


def test_every_flat_line_fills_a_window_by_half_so_that_none_is_judged_by_nothing(played):
    root = played[2]
    archive = open_storage(f"{root}-archive-0")
    truth = write_archive(archive.put_new, seed=0)

    windows = [
        int(_half_inside(item.evidence, episode).sum())
        for item in _scored(open_storage(str(root)), archive, truth)
        for episode in item.truth.episodes
        if episode.kind == "flat"
    ]

    assert len(windows) == 3
    assert min(windows) >= 1


def test_the_last_line_says_where_the_page_is(played):
    outcome, said, root = played

    assert outcome.page in said[-1]
    assert (root / "reports").is_dir()
    assert outcome.page.endswith("index.html")


def test_a_second_demo_does_nothing_twice_and_finds_the_same(played):
    outcome, _, root = played
    said = []

    again = play(archive=None, root=str(root), seed=0, say=said.append)

    assert again.comparison == outcome.comparison
    assert [summary.done for summary in again.summaries] == [0, 0]
    assert any("champion already" in line for line in said)


def test_the_demo_prints_one_json_object_as_its_last_line(played, capsys):
    _, _, root = played

    with pytest.raises(SystemExit) as ended:
        app(["demo", "--root", str(root), "--json"])

    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert ended.value.code == 0
    assert result["verb"] == "demo"
    assert result["found"]["broken_quarantined"] == 7
