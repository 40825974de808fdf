"""An archive and roots on a real S3 server, and the command line as a test calls it, in this process or as a user does."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

from servers import ACCESS_KEY, READER_KEY, READER_SECRET, SECRET_KEY

from cardioclarity.__main__ import run
from cardioclarity.storage import Storage, open_storage
from cardioclarity.synthetic import MIT, Episode, Scene, ecg, wfdb_files

SECRETS = (SECRET_KEY, READER_SECRET)
ACCESS_KEYS = (ACCESS_KEY, READER_KEY)

SCENES = (
    *(Scene(name=f"normal/{n}", seed=n, duration_s=60.0, rate_hz=360.0) for n in range(2)),
    *(Scene(name=f"other/{n}", seed=n, duration_s=60.0, rate_hz=250.0) for n in range(2, 4)),
    Scene(
        name="ill/0",
        seed=40,
        duration_s=90.0,
        rate_hz=360.0,
        pvc_per_hour=240.0,
        episodes=(Episode(kind="pause", start_s=30.0, end_s=33.4), Episode(kind="flat", start_s=60.0, end_s=81.0)),
    ),
)
"""Two rates make two segments, so that two workers have something to do."""

LEVEL = ("--alarms-per-hour", "200")
"""So few patients give wide p-values: at usual levels no beat alarms, and no event could differ."""


def write(archive: Storage, scenes: Iterable[Scene] = SCENES) -> None:
    """Fill an archive."""
    for scene in scenes:
        for key, data in wfdb_files(ecg(scene), MIT).items():
            archive.put_new(key, data)


def convert_train_score(archive: str, root: str, *more: str) -> None:
    """Run the three verbs in this process."""
    assert run(["convert", archive, "--root", root, "--quiet", *more]) == 0
    root_only = [word for word in more if not word.startswith("--archive")]
    assert run(["train", "--root", root, "--detector", "template", "--quiet", *root_only]) == 0
    assert run(["score", "--root", root, "--quiet", *LEVEL, *root_only]) == 0


def as_a_user(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with these AWS variables and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CARDIOCLARITY_"))}
    return subprocess.run(
        [sys.executable, "-m", "cardioclarity", *arguments],
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def objects(url: str) -> dict[str, str]:
    """Everything below a URL: key → what changes with its bytes."""
    return {found.key: found.version for found in open_storage(url).list()}
