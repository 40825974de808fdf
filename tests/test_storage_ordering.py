"""A listing that came in any order leaves in the byte order of its keys, nothing lost."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.storage.ordering import ordered

TIME = datetime(2026, 11, 26, 12, 0, 0, 250_000, tzinfo=UTC)


@given(st.lists(st.text(st.sampled_from("a.-0/\u00e4Z~ \U0001f493"), min_size=1, max_size=5), unique=True))
def test_rows_leave_in_the_byte_order_of_their_keys_as_they_came(keys):
    rows = [(key, len(key), f"tag-{number}", TIME) for number, key in enumerate(keys)]

    assert list(ordered(rows)) == sorted(rows, key=lambda row: row[0].encode())


def test_a_folder_listed_before_a_sibling_that_sorts_first_comes_after_it():
    rows = [("0/0", 1, "a", TIME), ("0.", 1, "b", TIME)]

    assert [row[0] for row in ordered(rows)] == ["0.", "0/0"]
