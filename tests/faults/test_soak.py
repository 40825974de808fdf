"""The soak goes on where it stopped, and never loses what it has found."""

import time

import pytest

from faults.soak import Page, Trial, soak


def trial(seeds, *, bad=()):
    def run(seed):
        seeds.append(seed)
        if seed in bad:
            raise AssertionError("a row stands\ntwice")
        return 3

    return Trial("fault", "folder", run)


@pytest.fixture
def page(tmp_path):
    return tmp_path / "soak.md"


def rounds(n, run):
    """Let time stand still until so many seeds were tried."""

    def counted(seed):
        nonlocal n
        n -= 1
        if n < 0:
            raise KeyboardInterrupt
        return run.run(seed)

    return Trial(run.what, run.server, counted)


def test_a_soak_that_is_stopped_goes_on_with_the_next_seed_and_adds_up(page):
    seeds = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            soak([rounds(4, trial(seeds))], Page.read(page), seconds=3600)

    count = Page.read(page).counts["fault", "folder"]
    assert seeds == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (count.count, count.bad, count.first, count.last) == (24, 0, 1, 8)


def test_what_was_wrong_stays_on_the_page_with_its_seed_and_the_soak_goes_on(page, tell):
    with pytest.raises(KeyboardInterrupt):
        soak([rounds(3, trial([], bad={2}))], Page.read(page), seconds=3600)
    with pytest.raises(KeyboardInterrupt):
        soak([rounds(1, trial([]))], Page.read(page), seconds=3600)

    read = Page.read(page)
    assert read.counts["fault", "folder"].bad == 1
    (found,) = read.found
    assert found.endswith("fault, folder, seed 2: AssertionError: a row stands twice")
    assert read.counts["fault", "folder"].last == 4


def test_nothing_is_tried_when_the_time_is_over(page):
    seeds = []

    assert soak([trial(seeds)], Page.read(page), seconds=0) == 0
    assert seeds == []


def test_a_trial_that_hangs_is_found_wrong(page, monkeypatch):
    monkeypatch.setattr("faults.soak.LONGEST_S", 1)

    assert soak([Trial("fault", "folder", lambda seed: time.sleep(60) or 0)], Page.read(page), seconds=0.5) == 1
    assert "TimeoutError: not done after 1 s" in Page.read(page).found[0]
