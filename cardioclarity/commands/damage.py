"""The command that looks for damage in a root, and takes out what convert and score can make again."""

import time

from cardioclarity.commands.speaking import Output, Root, chosen_root, say, say_json, since, speaking
from cardioclarity.commands.stores import ROOT_STORAGE, RootStorage
from cardioclarity.config import ParallelConfig, ScoreConfig, VerifyConfig
from cardioclarity.errors import CardioClarityError, ExitCode

_OUTPUT = Output()


def verify(
    *,
    root: Root = None,
    read_data: bool = False,
    subset: str | None = None,
    repair: bool = False,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Look for damage; exit code 4 where there is any.

    Without --read-data: names, sizes, manifests and logs. With it: every byte.

    Example: cardioclarity verify --root ./results --read-data --subset 1/7

    Args:
        root: Folder or URL of the deployment.
        read_data: Read every byte and compare it with its digest.
        subset: Read only the k-th of n parts, given as k/n; n nights read everything once.
        repair: Set damaged records aside, take damaged rows out, and score again what can be; then convert the archive.
        root_storage: How to reach the root.
        output: How the command speaks.
    """
    from cardioclarity.verify import verify as check

    started = time.perf_counter()
    with speaking(output):
        config = VerifyConfig(
            root=chosen_root(root),
            root_storage=root_storage.options,
            read_data=read_data,
            subset=subset,
            repair=repair,
        )
        verified = check(config)
        scored = [_score_again(config, model_id) for model_id in verified.models]
    if output.json:
        told = verified.as_json()
        say_json(told | {"repaired": [*verified.repaired, *scored], "seconds": since(started)})
    else:
        for line in (*verified.lines(), *(f"verify: {line}" for line in scored)):
            say(line)
        if verified.repaired:
            say(
                f"verify: now run: cardioclarity convert ARCHIVE --root {config.root}, then: cardioclarity score --root {config.root}"
            )
    return ExitCode.DAMAGED if verified.damaged else ExitCode.DONE


def _score_again(config: VerifyConfig, model_id: str) -> str:
    """Score with a model what lost its scores, by the levels that its last run used; says what came of it."""
    import json

    from cardioclarity import parallel
    from cardioclarity.score import SCORE
    from cardioclarity.storage import open_storage
    from cardioclarity.tables import catalog
    from cardioclarity.tables.runs import judgement
    from cardioclarity.work import RunState, drive

    root = open_storage(config.root, config.root_storage)
    runs = (row for row in catalog.runs(root) if (row["verb"], row["model_id"]) == ("score", model_id))
    last: dict[str, object] = next(
        (json.loads(row["config"]) for row in runs if row["state"] == RunState.COMPLETED), {}
    )
    settings = ScoreConfig(root=config.root, root_storage=config.root_storage, model=model_id, **judgement(last))
    try:
        with parallel.mapper(ParallelConfig()) as mapper:
            summary = drive(SCORE, settings, mapper)
    except CardioClarityError as error:
        return f"model {model_id}: not scored again: {error}"
    return f"model {model_id}: {summary.done} records scored again, {summary.quarantined} set aside"
