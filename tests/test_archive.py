"""Each file of an archive belongs to one record or to the census, in whatever way the names interleave."""

from collections import Counter, defaultdict

import pytest
from ecg_files import Listed
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.errors import UnreadableFileError
from cardioclarity.readers.archive import Census, group, safe_key
from cardioclarity.vocabulary import Reason


def listed(*keys: str) -> list[Listed]:
    return [Listed(key) for key in sorted(keys, key=str.encode)]


def keys_of(*keys: str) -> list[str]:
    return [source.key for source in group(listed(*keys))]


def test_files_that_share_folder_and_stem_are_one_record():
    archive = [Listed("a/1.atr", 10), Listed("a/1.dat", 200), Listed("a/1.hea", 3), Listed("b/1.hea", 7)]

    one, two = group(archive)

    assert (one.format, one.key, one.size) == ("wfdb", "a/1.hea", 213)
    assert (two.key, two.size) == ("b/1.hea", 7)
    assert len(one.version) == 16


def test_the_files_of_a_record_need_not_be_neighbours():
    archive = [Listed("a-b.hea"), Listed("a.atr", 10), Listed("a.b.dat"), Listed("a.b.hea"), Listed("a.hea", 5)]

    sizes = {source.key: source.size for source in group(archive)}

    assert sizes == {"a-b.hea": 1, "a.b.hea": 2, "a.hea": 15}


def test_a_folder_inside_the_range_of_a_record_does_not_split_it():
    archive = listed("a.atr", "a.d/1.dat", "a.d/1.hea", "a.hea", "a.z/2.hea", "a.zip")

    sources = list(group(archive))

    assert [source.key for source in sources] == ["a.d/1.hea", "a.hea", "a.z/2.hea"]
    assert [source.size for source in sources] == [2, 3, 1]


def test_records_nested_in_the_ranges_of_others_come_in_order_too():
    keys = ["a.hea", "a.x/b.hea", "a.x/b.x/c.hea", "a.x/b.x/d.hea", "a.x/b.zip", "a.y/e.hea", "a.zip", "b.hea"]

    sources = list(group(listed(*keys)))

    assert [source.key for source in sources] == [key for key in keys if key.endswith(".hea")]
    assert [source.size for source in sources] == [2, 2, 1, 1, 1, 1]


def test_a_header_without_any_other_file_is_a_record_that_will_be_refused_by_name():
    assert keys_of("x/alone.hea") == ["x/alone.hea"]


def test_the_sources_come_sorted_as_their_bytes_even_where_characters_sort_otherwise():
    names = ["é.hea", "z.hea", "\U0001f600.hea", "\uffff.hea", "Z.hea"]

    keys = keys_of(*names)

    assert keys == sorted(names, key=str.encode)


@pytest.mark.parametrize(
    "change",
    [Listed("1.atr", 9, "1"), Listed("1.atr", 1, "2"), Listed("1.qrs", 1, "1")],
    ids=["size", "version", "name"],
)
def test_the_version_changes_with_any_file_of_the_record(change):
    before = [Listed("1.atr"), Listed("1.hea")]
    after = sorted([change, Listed("1.hea")], key=lambda item: item.key)

    (old,), (new,) = group(before), group(after)

    assert old.version != new.version


def test_the_version_does_not_change_with_another_record():
    (alone,) = group(listed("1.dat", "1.hea"))

    beside = next(source for source in group(listed("1.dat", "1.hea", "2.hea")) if source.key == "1.hea")

    assert beside.version == alone.version


def test_what_belongs_to_no_record_is_counted_by_suffix():
    census = Census()

    sources = list(
        group(listed("1.hea", "1.dat", "x.XML", "y.xml", "README", ".hidden", "d.rep0rt-of-smith", ".hea"), census)
    )

    assert len(sources) == 1
    assert census.ignored == Counter({"xml": 2, "none": 1, "hidden": 1, "other": 1, "hea": 1})
    assert str(census) == "2 x xml, 1 x hea, 1 x hidden, 1 x none, 1 x other"


def test_an_archive_of_records_alone_has_nothing_to_report():
    census = Census()

    list(group(listed("1.hea", "1.dat"), census))

    assert str(census) == "no other file"


@pytest.mark.parametrize("keys", [["b.hea", "a.hea"], ["a.hea", "a.hea"]], ids=["unsorted", "doubled"])
def test_a_listing_out_of_order_is_our_own_mistake(keys):
    with pytest.raises(AssertionError, match="sorted"):
        list(group([Listed(key) for key in keys]))


def test_a_listing_is_read_as_it_comes():
    def endless():
        number = 0
        while True:
            yield Listed(f"{number:09d}.dat", number)
            yield Listed(f"{number:09d}.hea", number)
            number += 1

    sources = group(endless())

    assert [next(sources).key for _ in range(3)] == ["000000000.hea", "000000001.hea", "000000002.hea"]


names = st.text(alphabet="ab.-/é", min_size=1, max_size=9)
suffixes = st.sampled_from([".hea", ".dat", ".atr", ".z", ""])


@given(st.sets(st.builds(str.__add__, names, suffixes), max_size=24))
def test_grouping_agrees_with_a_dictionary_of_stems(keys):
    stems = defaultdict(set)
    for key in keys:
        folder, slash, name = key.rpartition("/")
        stems[folder + slash, name.rpartition(".")[0]].add(key)
    expected = {
        f"{folder}{stem}.hea": len(files)
        for (folder, stem), files in stems.items()
        if stem and f"{folder}{stem}.hea" in files
    }
    census = Census()

    sources = list(group(listed(*keys), census))

    assert {source.key: source.size for source in sources} == expected
    assert [source.key for source in sources] == sorted(expected, key=str.encode)
    assert sum(source.size for source in sources) + census.ignored.total() == len(keys)


@pytest.mark.parametrize(
    ("reference", "key"), [("100.dat", "db/100.dat"), ("p01/a~b+c.d_e-f", "db/p01/a~b+c.d_e-f"), ("...", "db/...")]
)
def test_a_plain_name_is_a_key_beside_its_header(reference, key):
    assert safe_key(reference, header_key="db/100.hea") == key


def test_a_header_at_the_top_has_its_files_at_the_top():
    assert safe_key("100.dat", header_key="100.hea") == "100.dat"


HOSTILE = ["", ".", "..", "../x", "a/../x", "a//b", "/etc/passwd", "a/", "a\\b", "C:x", "http://h/x", "x\0", "x\n", "ü"]


@pytest.mark.parametrize("reference", [*HOSTILE, "a" * 129, "s3://b/k", "%2e%2e", "a b", "~/x/./y"])
def test_a_name_that_leads_elsewhere_is_refused(reference):
    with pytest.raises(UnreadableFileError) as caught:
        safe_key(reference, header_key="db/100.hea")

    assert caught.value.reason is Reason.BAD_KEY
    assert "set aside" in str(caught.value)


@given(st.text(max_size=40))
def test_an_accepted_name_stays_in_the_folder_of_its_header(reference):
    try:
        key = safe_key(reference, header_key="db/p/100.hea")
    except UnreadableFileError:
        return

    parts = key.split("/")
    assert parts[:2] == ["db", "p"]
    assert not {"", ".", ".."} & set(parts)
    assert key.isascii()
    assert not set("\\:") & set(key)
