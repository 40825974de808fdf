"""Small labelled archives under the names of the public database, for tests of the evaluation."""

import functools
from collections.abc import Sequence
from pathlib import Path

from cardioclarity.synthetic.archive import MIT, wfdb_files
from cardioclarity.synthetic.pacing import Episode, Scene
from cardioclarity.synthetic.phantom import ecg


@functools.cache
def files(
    name: str, seed: int, duration_s: float, episodes: tuple[Episode, ...] = (), pvc_per_hour: float = 700.0
) -> dict[str, bytes]:
    """Make one record with early beats of both kinds."""
    scene = Scene(
        name=name,
        seed=seed,
        duration_s=duration_s,
        rate_hz=360.0,
        leads=("MLII", "V1"),
        pvc_per_hour=pvc_per_hour,
        pac_per_hour=pvc_per_hour * 0.7,
        episodes=episodes,
    )
    return wfdb_files(ecg(scene), MIT)


def write(
    folder: Path,
    names: Sequence[str],
    *,
    duration_s: float = 75.0,
    episodes: tuple[Episode, ...] = (),
    pvc_per_hour: float = 700.0,
) -> Path:
    """Write a record per name; equal names are equal records wherever they are written."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, name in enumerate(names):
        for key, data in files(name, at, duration_s, episodes, pvc_per_hour).items():
            (folder / key).write_bytes(data)
    return folder
