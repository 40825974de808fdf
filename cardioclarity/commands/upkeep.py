"""The commands that look after a root: what ran, which model is used."""

import datetime as dt
import sys

from cardioclarity.commands.speaking import Output, Root, chosen_root, duration, say_json, say_table
from cardioclarity.errors import ExitCode

_OUTPUT = Output()


def runs(*, root: Root = None, expect_within: str | None = None, output: Output = _OUTPUT) -> int:
    """List the runs, the newest first.

    Example: cardioclarity runs --root ./results --expect-within 26h

    Args:
        root: Folder or URL of the deployment.
        expect_within: Fail when no scoring run has ended within this time, such as 26h or 45m.
        output: How the command speaks.
    """
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog

    age = None if expect_within is None else duration(expect_within)
    storage = open_storage(chosen_root(root))
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


def models(*, root: Root = None, use: str | None = None, output: Output = _OUTPUT) -> int:
    """List the models, and move the champion forward or back.

    Example: cardioclarity models --root ./results --use 4f1c…

    Args:
        root: Folder or URL of the deployment.
        use: Id of the model that the nightly flow shall use from now on.
        output: How the command speaks.
    """
    from cardioclarity import models as store
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog
    from cardioclarity.work import new_run_id

    storage = open_storage(chosen_root(root))
    catalog.require_root(storage)
    if use is not None:
        store.load(storage, use)  # a damaged model is never made champion
        store.crown(storage, use, chosen_by="models", run_id=new_run_id())
    rows = store.list_models(storage)
    if output.json:
        say_json({"verb": "models", "champion": store.champion(storage), "models": rows})
    else:
        columns = ("model_id", "champion", "detectors", "patients", "normal_beats", "seed")
        say_table(columns, [[row[name] for name in columns] for row in rows])
    return ExitCode.DONE
