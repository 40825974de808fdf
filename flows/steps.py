"""What all flows share: a verb as two Prefect tasks, its artifacts, and the rules for a root on a worker."""

import functools
import inspect
import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State
from prefect.flows import Flow
from prefect.states import Completed
from prefect.utilities.annotations import quote

from cardioclarity import parallel, work
from cardioclarity.config import ParallelConfig, ScoreConfig, StorageOptions
from cardioclarity.errors import CardioClarityError, ExitCode, UsageError, leave


class Plain(TypedDict):
    """How every task is made."""

    persist_result: Literal[False]
    cache_policy: CachePolicy
    retries: Literal[0]


PLAIN: Plain = {"persist_result": False, "cache_policy": NO_CACHE, "retries": 0}
"""Nothing is stored in Prefect, nothing is hashed, and retries live in the storage layer only."""

SCORING = ScoreConfig(root="")
"""The levels and limits of `score`, so that they have one default everywhere."""

Addressing = Literal["path", "virtual"]
"""Where a request names the bucket."""

log = logging.getLogger("cardioclarity.flows")
logging.getLogger("cardioclarity").setLevel(logging.INFO)

C = TypeVar("C")
U = TypeVar("U", bound=work.Unit)
O = TypeVar("O")  # noqa: E741


def drive(verb: work.Verb[C, U, O], config: C, where: ParallelConfig) -> work.Summary:
    """Plan in one task, run the units on `where` and publish in a second, and leave the summary as artifacts."""
    reasons: Counter[str] = Counter()
    numbers = count(1)

    def run_and_publish(plan: Any) -> work.Summary:  # noqa: ANN401 - Prefect unwraps the quoted plan on the way in
        def told(receipt: work.Receipt[O]) -> None:
            reasons.update(row.reason for row in receipt.quarantined)
            log.info("%s: %d of %s units done", verb.name, next(numbers), plan.expected_units or "?")

        with parallel.mapper(where) as mapper:
            return work.complete(verb, config, plan, mapper, told)

    plan = task(name=f"plan {verb.name}", **PLAIN)(verb.plan)(config)
    summary: work.Summary = task(name=f"run and publish {verb.name}", **PLAIN)(run_and_publish)(quote(plan))
    leave_artifacts(summary, reasons)
    return summary


def leave_artifacts(summary: work.Summary, reasons: Mapping[str, int]) -> None:
    """Show a run in Prefect: its sentences, and its counts as a table.

    Args:
        summary: What the run did.
        reasons: How many records it set aside for each reason.
    """
    counts = {"records": summary.inputs, "done": summary.done, "set aside": summary.quarantined}
    counts |= {f"set aside: {reason}": n for reason, n in sorted(reasons.items())}
    counts |= {"already done": summary.already_done}
    counts |= {f"{head} events": n for head, n in summary.events.items()}
    create_table_artifact([{"what": what, "count": n} for what, n in counts.items()], key=f"{summary.verb}-counts")
    lines = [*summary.lines(), *(f"set aside, {reason}: {n}" for reason, n in sorted(reasons.items()))]
    listed = "\n".join(f"- {line}" for line in (*lines, *summary.warnings))
    markdown = f"## {summary.verb}\n\n{listed}\n\nRun {summary.run_id}. Research use only, not for diagnostic use.\n"
    create_markdown_artifact(markdown, key=f"{summary.verb}-summary")


def leave_link(path: str) -> None:
    """Link the page of a run, where its place can be reached by a link."""
    if re.match(r"[a-z0-9]+://", path):
        create_link_artifact(link=path, key="report")
    else:
        create_markdown_artifact(f"The page is at `{path}` on the worker's file system.\n", key="report")


def ended(*summaries: work.Summary) -> State[None]:
    """End a flow: `NothingNew` where no verb had anything to do, else Completed with what each verb did last."""
    busy = [summary for summary in summaries if summary.state != work.RunState.NOTHING_NEW]
    last = {summary.verb: summary for summary in busy or summaries}
    message = "; ".join(line for summary in last.values() for line in summary.lines())
    return Completed(message=message) if busy else Completed(name="NothingNew", message=message)


def absolute(url: str, name: str) -> str:
    """Refuse a relative folder: a worker runs each flow in a temporary folder, where it would vanish.

    Args:
        url: URL or folder, as the parameter gave it.
        name: The parameter.

    Raises:
        UsageError: The folder is relative, or nothing was given.
    """
    if not url:
        variable = f"CARDIOCLARITY_{name.upper()}"
        raise UsageError(
            f"{name} is empty: give -p {name}=…, or set {variable} and run `prefect --no-prompt deploy --all` again"
        )
    if "://" in url or Path(url).is_absolute():
        return url
    raise UsageError(f"{name} {url!r} is a relative folder; a worker runs elsewhere: give an absolute path or a URL")


def storage(
    endpoint_url: str | None,
    region: str | None,
    profile: str | None,
    addressing_style: Addressing | None,
    *,
    anon: bool = False,
) -> StorageOptions:
    """Gather what a flow was told about one store; a field of the form that was left empty decides nothing."""
    return StorageOptions(
        endpoint_url=endpoint_url or None,
        region=region or None,
        profile=profile or None,
        addressing_style=addressing_style or None,
        anon=anon,
    )


def command_line(flow: Flow[..., State[None]]) -> None:
    """Run a flow from the shell, `python -m flows.NAME --root …`; relative folders are those of the shell."""
    from cyclopts import App, Parameter

    @functools.wraps(flow.fn)
    def run(**parameters: str | float | None) -> int:
        for name in {"archive", "root", "patients"} & parameters.keys():
            place = parameters[name]
            if isinstance(place, str) and place and "://" not in place:
                parameters[name] = str(Path(place).resolve())
        return _exit_code(flow(**parameters, return_state=True))

    everything_by_name = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(flow.fn).parameters.values()
    ]
    run.__signature__ = inspect.Signature(everything_by_name, return_annotation=int)  # type: ignore[attr-defined]  # read by cyclopts
    app = App(name=f"python -m flows.{flow.name}", help_formatter="plain", default_parameter=Parameter(negative=()))
    app.default(run)
    try:
        app()
    except SystemExit as ended:
        leave(ended.code)


def _exit_code(state: State[None]) -> int:
    """Translate how a flow ended; an error is said once more, in one sentence, below Prefect's traceback."""
    if state.is_completed():
        return ExitCode.DONE
    failure = state.result(raise_on_failure=False)
    print(f"error: {failure}", file=sys.stderr)  # noqa: T201 - the shell reads it
    return failure.exit_code if isinstance(failure, CardioClarityError) else ExitCode.FAILED
