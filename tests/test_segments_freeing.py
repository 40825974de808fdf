"""A converter and gc: what gc announces is seen while it stands, and a segment that has lost an object is missed."""

import datetime as dt
from pathlib import Path

import pytest
from leavings import pass_time, sizes
from test_segments_write import record

from cardioclarity.errors import StorageError
from cardioclarity.segments import freeing
from cardioclarity.segments.freeing import require_whole
from cardioclarity.segments.write import write
from cardioclarity.storage import Storage, open_storage


@pytest.fixture
def root(tmp_path):
    return open_storage(str(tmp_path / "root"))


@pytest.fixture
def segments(root):
    """Two segments with their stored bytes."""
    written = [write([record(number)], root) for number in (1, 2)]
    return {segment.segment_id: segment.n_bytes for segment in written}


@pytest.fixture(params=["each by itself", "all by one listing"])
def either_way(request, monkeypatch):
    if request.param == "all by one listing":
        monkeypatch.setattr(freeing, "ONE_BY_ONE", 0)


def test_an_announcement_stands_for_the_time_of_its_block(root):
    assert freeing.being_freed(root) == frozenset()
    with freeing.announced(root, ["b", "a"]), freeing.announced(root, ["c"]):
        assert freeing.being_freed(root) == {"a", "b", "c"}
    assert freeing.being_freed(root) == frozenset()
    assert sizes(root) == {}


def test_a_run_whose_segment_is_announced_is_refused_though_all_of_it_is_there(root, segments):
    first, second = segments
    mine = {first: segments[first]}
    require_whole(root, mine)

    with (
        freeing.announced(root, [first]),
        pytest.raises(StorageError, match=rf"first {first}; wait .* the same command again"),
    ):
        require_whole(root, mine)
    with freeing.announced(root, [second]):
        require_whole(root, mine)


def test_what_a_killed_gc_announced_is_passed_over_after_an_hour(root):
    root.put_new(".gc/1.json", b'["ab"]')
    assert freeing.being_freed(root) == {"ab"}

    pass_time(Path(root.url), freeing.VALID / dt.timedelta(days=1))
    assert freeing.being_freed(root) == frozenset()


def test_a_gc_that_was_held_up_does_not_delete_on_an_announcement_that_is_about_to_be_passed_over(root):
    with freeing.announced(root, ["ab"]) as said:
        freeing.require_valid(root, said)
        with pytest.raises(StorageError, match="nothing more was deleted, run it again"):
            freeing.require_valid(root, said - freeing.VALID / 2)


@pytest.mark.usefixtures("either_way")
def test_whole_segments_pass_alone_and_together(root, segments):
    require_whole(root, segments)
    for segment_id, n_bytes in segments.items():
        require_whole(root, {segment_id: n_bytes})
    require_whole(root, {})


@pytest.mark.usefixtures("either_way")
def test_every_object_of_a_segment_is_missed_and_named(root, segments):
    sound = {listed.key: root.fetch(listed.key) for listed in root.list("segments/")}
    assert len(sound) > 10
    for key, data in sound.items():
        root.delete(key)
        with pytest.raises(StorageError, match=f"1 of 2 segments .* {key} is missing.* run the same command"):
            require_whole(root, segments)
        root.put_new(key, data)
    require_whole(root, segments)


@pytest.mark.usefixtures("either_way")
def test_what_others_have_put_below_a_segment_does_no_harm(root, segments):
    first, _ = segments
    root.put_new(f"segments/{first}.zarr/notes.txt", b"from a person")

    require_whole(root, segments)


@pytest.mark.usefixtures("either_way")
def test_a_gap_in_a_segment_of_another_run_is_not_this_one_s_concern(root, segments):
    other = write([record(3)], root)
    root.delete(f"segments/{other.segment_id}.json")

    require_whole(root, segments)


def test_a_run_of_a_few_segments_does_not_list_those_of_others(root, segments, monkeypatch):
    other = write([record(3)], root)
    listing, listed = Storage.list, []

    def noted(self, prefix=""):
        for found in listing(self, prefix):
            listed.append(found.key)
            yield found

    monkeypatch.setattr(Storage, "list", noted)
    require_whole(root, segments)

    assert listed
    assert not [key for key in listed if other.segment_id in key]
