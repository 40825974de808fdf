"""R2: a process that is killed at any moment leaves nothing wrong, and running it again gives what no kill gives."""

import random

import pytest

from faults.killing import fresh_folder, kill_once, whole_road_s
from faults.zygote import Zygote

KILLS = 20
SEED = 8


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as started:
        yield started


def test_killed_at_random_moments_and_run_again_the_road_leads_to_the_same_rows(zygote, road, undisturbed, fast, tell):
    clean_s = min(whole_road_s(zygote, fresh_folder(road, fast / "killed")) for _ in range(2))
    dice, killed = random.Random(SEED), 0
    for number in range(KILLS):
        at_s = dice.uniform(0, clean_s)
        here = f"seed {SEED}, kill {number} at {at_s:.3f} of {clean_s:.3f} s"
        victim = fresh_folder(road, fast / "killed")
        killed += kill_once(zygote, victim, at_s=at_s, end=undisturbed["end"], here=here)

    tell(f"{killed} of {KILLS} processes were killed before their end, in {clean_s:.2f} s each")
    assert killed >= KILLS // 2
