"""Killing the road at a moment, looking at what is left, and going it again."""

import shutil
import time
from pathlib import Path

from faults.road import STEPS, Road, copy
from faults.state import Seen, check_segments, look
from faults.zygote import Zygote, kill

DONE = {"code": 0, "error": ""}


def kill_once(zygote: Zygote, road: Road, *, at_s: float, end: Seen, here: str) -> bool:
    """Go the whole road on a fresh root and kill it after so many seconds, look, go it again, look again.

    Returns:
        Whether the kill came before its end.

    Raises:
        AssertionError: A reader would have seen something wrong.
    """
    pid = zygote.start(road, STEPS)
    time.sleep(at_s)
    kill(pid)
    ended = zygote.wait()
    assert ended["code"] in {0, -9}, f"{here}: {ended}"
    if look(road.place).records != "0":
        check_segments(road.place)
    again = zygote.run(road, STEPS)
    assert again == DONE, f"{here}: {again}"
    assert look(road.place) == end, here
    assert road.verify() == (), here
    return ended["code"] != 0


def whole_road_s(zygote: Zygote, road: Road) -> float:
    """Measure the seconds of the road on a fresh root."""
    started = time.perf_counter()
    ended = zygote.run(road, STEPS)
    assert ended == DONE, ended
    return time.perf_counter() - started


def fresh_folder(road: Road, folder: Path) -> Road:
    """Begin again in the same folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return road.to(copy(road.root, folder))
