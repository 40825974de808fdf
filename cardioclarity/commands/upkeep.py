"""The commands that look after a root: what ran, which model is used, whether the store can be trusted."""

import dataclasses
import datetime as dt
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cardioclarity.commands.speaking import (
    Output,
    Root,
    chosen_root,
    duration,
    say,
    say_json,
    say_table,
    since,
    speaking,
)
from cardioclarity.commands.stores import ROOT_STORAGE, RootStorage
from cardioclarity.errors import DamageError, ExitCode

if TYPE_CHECKING:
    from cardioclarity.storage import Storage

_OUTPUT = Output()


def runs(
    *,
    root: Root = None,
    expect_within: str | None = None,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """List the runs, the newest first; fail when a night is missing.

    Example: cardioclarity runs --root ./results --expect-within 26h

    Args:
        root: Folder or URL of the deployment.
        expect_within: Fail when no scoring run has ended within this time, such as 26h or 45m.
        root_storage: How to reach it.
        output: How the command speaks.
    """
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog

    age = None if expect_within is None else duration(expect_within)
    storage = open_storage(chosen_root(root), root_storage.options)
    catalog.require_root(storage)
    rows = catalog.runs(storage)
    scored = [row["finished_at"] for row in rows if row["verb"] == "score"]
    missing = age is not None and not any(dt.datetime.now(dt.UTC) - finished <= age for finished in scored)
    columns = ("run_id", "verb", "state", "inputs", "done", "quarantined", "already_done", "model_id", "finished_at")
    if output.json:
        say_json({"verb": "runs", "runs": [{name: row[name] for name in columns} for row in rows]})
    else:
        say_table(columns, [[row[name] for name in columns] for row in rows])
    if missing:
        last = max(scored, default=None)
        print(f"error: no scoring run ended within {expect_within}; the last one: {last or 'never'}", file=sys.stderr)  # noqa: T201
    return ExitCode.FAILED if missing else ExitCode.DONE


def models(
    *,
    root: Root = None,
    use: str | None = None,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """List the models, and move the champion forward or back.

    Example: cardioclarity models --root ./results --use 4f1c…

    Args:
        root: Folder or URL of the deployment.
        use: Id of the model that the nightly flow shall use from now on.
        root_storage: How to reach it.
        output: How the command speaks.
    """
    from cardioclarity import models as store
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog
    from cardioclarity.work import new_run_id

    storage = open_storage(chosen_root(root), root_storage.options)
    catalog.require_root(storage)
    if use is not None:
        store.load(storage, use)  # a damaged model is never made champion
        store.crown(storage, use, chosen_by="models", run_id=new_run_id())
    rows = _with_states(storage, store.list_models(storage))
    if output.json:
        say_json({"verb": "models", "champion": store.champion(storage), "models": rows})
    else:
        columns = ("model_id", "champion", "state", "detectors", "patients", "normal_beats", "seed")
        say_table(columns, [[row[name] for name in columns] for row in rows])
    return ExitCode.DONE


def _with_states(root: "Storage", rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each listed model its state, out of every byte of it, and those whose `model.json` is gone.

    Returns:
        The rows, by id, with a `state`: sound, or what is wrong with which file.
    """
    from cardioclarity.tables import catalog
    from cardioclarity.verify.findings import Spares
    from cardioclarity.verify.models import check_models
    from cardioclarity.vocabulary import Problem

    trained = {row["model_id"] for row in rows}
    with suppress(DamageError):  # without the runs, all that has a `model.json` is known
        trained |= {row["model_id"] for row in catalog.runs(root) if row["model_id"]}
    wrong: dict[str, list[str]] = {}
    damaged = {row["model_id"] for row in rows if row["damaged"]}
    for _, found in check_models(root, used=(), trained=trained, chosen=lambda _: True, spares=Spares()):
        for damage in found:
            if damage.model_id is not None:
                wrong.setdefault(damage.model_id, []).append(f"{damage.key.rpartition('/')[2]} {damage.problem}")
                damaged |= {damage.model_id} if damage.problem != Problem.UNKNOWN_VERSION else set()
    blank = dict.fromkeys(rows[0] if rows else ("model_id", "detectors", "patients", "normal_beats", "seed"))
    listed = {row["model_id"]: row for row in rows}
    listed |= {model_id: blank | {"champion": False} for model_id in wrong.keys() - listed.keys()}
    return [
        row | {"model_id": model_id, "damaged": model_id in damaged, "state": ", ".join(wrong.get(model_id, ["sound"]))}
        for model_id, row in sorted(listed.items())
    ]


def doctor(*, root: Root = None, root_storage: RootStorage = ROOT_STORAGE, output: Output = _OUTPUT) -> int:
    """Say whether this machine, and the store of a root, can be trusted, by trying them.

    Ends with ok, degraded (it works; read the warnings) or refused (exit 1: do not publish there). Without --root and
    CARDIOCLARITY_ROOT only the machine is looked at.

    Example: cardioclarity doctor --root s3://bucket/results

    Args:
        root: Folder or URL of the deployment, which need not exist yet; nothing of the trial stays in it.
        root_storage: How to reach it.
        output: How the command speaks.
    """
    from cardioclarity.doctor import Health, examine, health
    from cardioclarity.storage import open_storage

    started = time.perf_counter()
    url = chosen_root(root) if root is not None or "CARDIOCLARITY_ROOT" in os.environ else None
    findings = []
    with speaking(output):
        for finding in examine(None if url is None else open_storage(url, root_storage.options)):
            findings.append(finding)
            if not output.json:
                say(f"{finding.verdict:8} {finding.what}: {finding.said}")
    found = health(findings)
    if output.json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        say_json({"verb": "doctor", "root": url, "health": found, "findings": listed, "seconds": since(started)})
    else:
        meant = {
            Health.OK: "all is well",
            Health.DEGRADED: "it works; read the warnings above",
            Health.REFUSED: "do not work here before what is refused above is mended",
        }
        say(f"doctor: {found}: {meant[found]}")
    return found.exit_code
