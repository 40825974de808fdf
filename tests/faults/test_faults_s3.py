"""R3: a store that fails at every seventh request leads to the right rows or to a named error, never to wrong rows."""

from collections import Counter

import pytest
from servers.proxy import LOST_ACKNOWLEDGEMENT, TRANSIENT, Kind

from faults.cloud import Cloud
from faults.proxied import Proxied
from faults.road import FOLLOWING, STEPS
from faults.state import look

pytestmark = pytest.mark.service

STRIDE = 37


@pytest.fixture(scope="module")
def cloud(seaweed):
    with pytest.MonkeyPatch.context() as monkeypatch, Proxied(seaweed.endpoint) as proxied:
        yield Cloud(seaweed, proxied, monkeypatch)


@pytest.mark.parametrize(
    ("kinds", "share", "at_least"),
    [(TRANSIENT, 0.15, 300), (LOST_ACKNOWLEDGEMENT, 0.4, 30), ((Kind.FLIPPED,), 0.1, 60)],
    ids=["whatever a client can notice", "lost acknowledgements", "flipped bits"],
)
def test_a_store_that_fails_leads_to_the_right_rows_or_to_a_named_error(cloud, tell, kinds, share, at_least):
    befell, outcomes, seed = Counter(), Counter(), 0
    while befell.total() < at_least:
        seed += 1
        faults, ended = cloud.walk(seed, kinds=kinds, share=share, delay_s=0.05)
        befell, outcomes = befell + faults, outcomes + ended

    by_kind = {kind.name: n for kind, n in befell.items()}
    tell(f"{befell.total()} faults, seeds 1 to {seed}, {dict(outcomes)}: {by_kind}")
    assert set(befell) == set(kinds)
    if Kind.FLIPPED not in kinds:  # a log that is read with a wrong bit ends a step; what a client can notice does not
        assert outcomes["right"] >= 0.8 * outcomes.total()


def test_a_right_that_is_taken_away_in_the_middle_is_a_named_error_and_all_is_right_once_it_is_back(cloud, tell):
    """At every 37th request of each step; each try goes on where the one before ended."""
    road, points = cloud.fresh(), 0
    for step in STEPS:
        for after in range(0, 10_000, STRIDE):
            here = f"{step}, revoked after {after} requests"
            told, ended, found = cloud.through_proxy(road, step, kinds=(), revoked_after=after)
            cloud.check_no_wrong_row(road, step, here)
            if not found:
                assert cloud.is_clean(step, told), here
                break
            points += 1
            assert "(403)" in str(ended), f"{here}: {ended}"
        assert look(road.place) == cloud.seen[FOLLOWING[step]], step
    tell(f"{points} times the right was taken away")
