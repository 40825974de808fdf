"""A disk that is full ends a run with a sentence and nothing half done; with more room the run goes through."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from faults.road import FOLLOWING, copy
from faults.state import check_between, look
from faults.zygote import Zygote

DISK = 8 << 20
ROOM = 4 << 10
UNSHARE = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-Urm")
STEPS = ("convert", "train", "score", "judge_again")


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A process with a disk of 8 MB that only it has, and the way to that disk from here."""
    folder = tmp_path_factory.mktemp("disk")
    mount = f"mount -t tmpfs -o size={DISK} tmpfs {folder}"
    if subprocess.run([*UNSHARE, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no process have a disk of its own (unshare, mount)")
    with Zygote(*UNSHARE, "sh", "-c", f'{mount} && exec "$@"', "sh") as zygote:
        yield zygote, folder, Path(f"/proc/{zygote.pid}/root{folder}")


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as started:
        yield started


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_ends_a_step_with_a_sentence_and_with_more_room_it_goes_through(
    step, small_disk, before, undisturbed, fast, tell
):
    zygote, inside, outside = small_disk
    for left in outside.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    old, new = undisturbed[step], undisturbed[FOLLOWING[step]]
    copy(before[step].root, outside / "root")
    road = before[step].to(inside / "root")
    fill(outside)
    failures = []
    while (ended := zygote.run(road, (step,)))["code"]:
        here = f"{step}, failure {len(failures) + 1}: {ended}"
        failures.append(ended["error"])
        assert ended["code"] == 1, here
        assert str(inside) in ended["error"], here
        assert "disk is full" in ended["error"], here
        check_between(fetched(road, outside, fast), old, new, here)
        assert len(failures) < 50, here
        give_room(outside, ROOM * len(failures))  # a run that fails leaves what it staged, so ever more is needed

    assert look(fetched(road, outside, fast)) == new
    assert failures
    tell(f"{step}: {len(failures)} times no room, {len(set(failures))} sentences")


def fetched(road, disk, folder):
    """Copy the root out of the process: deltalake resolves links, and that one leads to nowhere from here."""
    shutil.rmtree(folder / "fetched", ignore_errors=True)
    return road.to(copy(disk / "root", folder / "fetched")).place


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return


def give_room(disk, n_bytes):
    ballast = disk / "ballast"
    os.truncate(ballast, ballast.stat().st_size - n_bytes)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("limit", [100, 700, 2000])
def test_a_limit_on_the_size_of_files_ends_a_step_with_a_sentence(step, limit, zygote, before, undisturbed, tmp_path):
    old, new = undisturbed[step], undisturbed[FOLLOWING[step]]
    road = before[step].to(copy(before[step].root, tmp_path / "limited"))

    ended = zygote.run(road, (step,), file_bytes=limit)

    assert ended["code"] == 1, ended
    assert "larger than allowed" in ended["error"] or "Unable to copy data" in ended["error"]  # deltalake says no more
    check_between(road.place, old, new, f"{step}, {limit} bytes")
    assert zygote.run(road, (step,)) == {"code": 0, "error": ""}
    assert look(road.place) == new
