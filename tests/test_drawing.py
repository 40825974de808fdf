"""A draw in one pass is the draw of one who sorts all, and takes the same memory from however many records."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from cardioclarity.cohort import draw
from cardioclarity.config import TrainConfig
from cardioclarity.drawing import choose


@given(
    minutes=st.lists(st.floats(0.1, 90), min_size=1, max_size=20),
    max_records=st.integers(1, 25),
    max_hours=st.floats(0.01, 8),
)
def test_a_draw_that_forgets_at_once_is_that_of_one_who_sorts_all(minutes, max_records, max_hours):
    rows = [
        {"record_id": f"{i}", "segment_id": "s", "segment_digest": "d", "leads": ["I"], "duration_s": 60 * length}
        for i, length in enumerate(minutes)
    ]
    config = TrainConfig(root="r", seed=3, max_records=max_records, max_hours=max_hours)

    chosen = [record.record_id for record in choose(rows, config)]

    expected, hours = [], 0.0
    for row in sorted(rows, key=lambda row: draw(3, row["record_id"]))[:max_records]:
        hours += min(row["duration_s"] / 60, 60.0) / 60
        if expected and hours > max_hours:
            break
        expected.append(row["record_id"])
    assert chosen == expected


def test_a_draw_of_few_records_takes_the_same_memory_from_ten_times_as_many():
    def peak_bytes(n):
        config = TrainConfig(root="r", max_records=200)
        rows = (
            {"record_id": f"{i:032x}", "segment_id": "s", "segment_digest": "d", "leads": ["I"], "duration_s": 10.0}
            for i in range(n)
        )
        tracemalloc.start()
        try:
            assert len(choose(rows, config)) == 200
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(300)  # whatever loads once

    assert peak_bytes(10_000) < 1.1 * peak_bytes(1000)
