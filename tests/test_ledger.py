"""What a plan remembers is exact, sorted by the bytes of the keys, and takes the same memory however much it is."""

import gc
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.errors import StorageError
from cardioclarity.ledger import Known, Ledger
from cardioclarity.readers.protocol import Source

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), min_size=1, max_size=4)
VERSIONS = st.sampled_from(["1", "2"])


def source(key, version="1", size=10):
    return Source(format="wfdb", key=key, version=version, size=size)


def listing(versions):
    return [source(key, versions[key]) for key in sorted(versions, key=str.encode)]


@given(
    known=st.dictionaries(KEYS, st.tuples(VERSIONS, st.booleans()), max_size=12),
    listed=st.dictionaries(KEYS, VERSIONS, max_size=12),
    again=st.booleans(),
)
def test_what_is_new_is_what_a_dictionary_would_say(known, listed, again):
    ledger = Ledger()
    ledger.know(Known(key, version, aside) for key, (version, aside) in known.items())

    unseen = list(ledger.unseen(listing(listed), again=again))

    seen = {key for key, (version, aside) in known.items() if listed.get(key) == version and not (again and aside)}
    assert unseen == [one for one in listing(listed) if one.key not in seen]
    assert ledger.n_known == len(seen)


def test_units_come_back_as_they_were_written_each_source_with_its_patient():
    ledger = Ledger()
    ledger.name([("b", "old"), ("b", "p1"), ("c", ""), ("elsewhere", "p2")])
    ledger.add(1, [source("a"), source("b")])
    ledger.add(2, [source("c", size=7)])

    units = list(ledger.units())

    assert units == [[(source("a"), ""), (source("b"), "p1")], [(source("c", size=7), "")]]
    assert units == list(ledger.units())
    assert (ledger.n_named(), ledger.n_new_named()) == (2, 1)


def peak_bytes(n):
    """Peak of Python's memory for so many known and so many new sources."""
    tracemalloc.start()
    try:
        ledger = Ledger()
        ledger.know(Known(f"{i:09d}.hea", "1", aside=False) for i in range(0, n, 2))
        new = ledger.unseen((source(f"{i:09d}.hea") for i in range(n)), again=False)
        for unit in range(n // 1000):
            ledger.add(unit, [next(new) for _ in range(500)])
        assert sum(len(unit) for unit in ledger.units()) == n // 2
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_as_many_sources_take_the_same_memory():
    peak_bytes(2000)  # whatever loads once

    few, many = peak_bytes(10_000), peak_bytes(100_000)

    assert many < 1.1 * few


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux which files are open")
def test_a_large_ledger_lies_in_a_file_without_a_name_which_goes_with_it():
    before = open_files()
    ledger = Ledger()
    ledger.add(1, (source(f"{i:0200d}") for i in range(60_000)))

    (file,) = open_files() - before
    assert file.endswith(" (deleted)")
    del ledger
    gc.collect()
    assert open_files() == before


def open_files():
    """What SQLite's temporary files are called, as far as this process has them open."""
    links = list(Path("/proc/self/fd").iterdir())
    return {name for link in links if link.is_symlink() and "etilqs_" in (name := str(link.readlink()))}


def test_a_plan_that_does_not_fit_on_the_disk_says_where_to_make_room():
    ledger = Ledger()
    ledger._database.execute("PRAGMA max_page_count = 20")

    with pytest.raises(StorageError, match=r"temporary folder .* set TMPDIR"):
        ledger.add(1, (source(f"{i:0200d}") for i in range(1000)))


@pytest.mark.parametrize("read", [Ledger.n_named, Ledger.n_new_named, lambda ledger: list(ledger.units())])
def test_what_cannot_be_read_back_is_told_too(read):
    ledger = Ledger()
    ledger.name((f"{i}", "p") for i in range(1000))
    ledger.add(1, (source(f"{i}") for i in range(1000)))
    ledger._database.set_progress_handler(lambda: 1, 10)  # makes SQLite give up in the midst of it

    with pytest.raises(StorageError, match=r"temporary folder .* set TMPDIR"):
        read(ledger)
