"""The line that every run leaves in the table `runs`: what it did, with which settings, code and libraries."""

import datetime as dt
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from cardioclarity import config as configuration
from cardioclarity.config import Config, ScoreConfig
from cardioclarity.storage import Storage
from cardioclarity.tables import publish
from cardioclarity.work import Plan, Summary, U

_DEFAULTS = ScoreConfig(root="")
_LIBRARIES = ("dask", "deltalake", "numpy", "scipy", "torch", "zarr")


def log_run(
    root: Storage, config: Config, plan: Plan[U], summary: Summary, *, staged: Iterable[publish.Staged] = ()
) -> None:
    """Write the run's line; it decides nothing, and a second call for the same run changes nothing.

    Args:
        root: The root.
        config: The run's settings; they hold no secret.
        plan: What was planned.
        summary: What became of it.
        staged: Every file that the run published, for the digest of its rows per table.
    """
    publish.record_run(
        root,
        {
            "run_id": plan.run_id,
            "verb": summary.verb,
            "state": summary.state,
            "started_at": plan.started_at,
            "finished_at": dt.datetime.now(dt.UTC),
            "inputs": summary.inputs,
            "done": summary.done,
            "quarantined": summary.quarantined,
            "already_done": summary.already_done,
            "model_id": summary.model_id,
            "config": configuration.as_json(config),
            "config_digest": configuration.digest(config),
            "code_version": version("cardioclarity"),
            "versions": json.dumps(versions(), sort_keys=True),
            "row_digests": json.dumps(row_digests(staged), sort_keys=True),
        },
    )


def judgement(settings: Mapping[str, Any]) -> dict[str, float]:
    """Pick from a run's settings those that decide what is an event; the defaults where it is no scoring run."""
    return {name: settings.get(name, getattr(_DEFAULTS, name)) for name in configuration.JUDGEMENT}


def versions() -> dict[str, str]:
    """Name the interpreter and the libraries whose numbers can change a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def row_digests(staged: Iterable[publish.Staged]) -> dict[str, str]:
    """Sum the order-free row digests per table: equal rows give equal digests, however they were split into files."""
    sums: dict[str, int] = {}
    for file in staged:
        sums[file.table] = (sums.get(file.table, 0) + int(file.row_digest, 16)) % (1 << 128)
    return {table: f"{total:032x}" for table, total in sums.items()}
