"""What all flows share: a verb as two Prefect tasks, its artifacts, and the rules for a root on a worker."""

import functools
import inspect
import logging
import os
import re
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

# The temporary server of a run without PREFECT_API_URL needs more than its default 20 s on a busy machine.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "cardioclarity")

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State
from prefect.flows import Flow
from prefect.states import Completed
from prefect.utilities.annotations import quote

from cardioclarity import parallel, work
from cardioclarity.config import ParallelConfig
from cardioclarity.errors import UsageError


class Plain(TypedDict):
    """How every task is made."""

    persist_result: Literal[False]
    cache_policy: CachePolicy
    retries: Literal[0]


PLAIN: Plain = {"persist_result": False, "cache_policy": NO_CACHE, "retries": 0}
"""Nothing is stored in Prefect, nothing is hashed, and retries live in the storage layer only."""

logging.getLogger("cardioclarity").setLevel(logging.INFO)

C = TypeVar("C")
U = TypeVar("U", bound=work.Unit)
O = TypeVar("O")  # noqa: E741


def drive(verb: work.Verb[C, U, O], config: C, where: ParallelConfig) -> work.Summary:
    """Plan in one task, run the units on `where` and publish in a second, and leave the summary as artifacts."""

    def run_and_publish(plan: Any) -> work.Summary:  # noqa: ANN401 - Prefect unwraps the quoted plan on the way in
        with parallel.mapper(where) as mapper:
            return work.complete(verb, config, plan, mapper)

    plan = task(name=f"plan {verb.name}", **PLAIN)(verb.plan)(config)
    summary: work.Summary = task(name=f"run and publish {verb.name}", **PLAIN)(run_and_publish)(quote(plan))
    leave_artifacts(summary)
    return summary


def leave_artifacts(summary: work.Summary) -> None:
    """Show a run in Prefect: its sentences, and its counts as a table."""
    lines = "\n".join(f"- {line}" for line in (*summary.lines(), *summary.warnings))
    create_markdown_artifact(f"## {summary.verb}\n\n{lines}\n", key=f"{summary.verb}-summary")
    counts = {"inputs": summary.inputs, "done": summary.done, "quarantined": summary.quarantined}
    counts |= {"already done": summary.already_done}
    counts |= {f"{head} events": n for head, n in summary.events.items()}
    create_table_artifact([{"what": what, "records": n} for what, n in counts.items()], key=f"{summary.verb}-counts")


def leave_link(path: str) -> None:
    """Link the page of a run, where its place can be reached by a link."""
    if re.match(r"[a-z0-9]+://", path):
        create_link_artifact(link=path, key="report")
    else:
        create_markdown_artifact(f"The page is at `{path}` on the worker's file system.\n", key="report")


def ended(*summaries: work.Summary) -> State[None]:
    """End a flow: `NothingNew` where no verb had anything to do, else Completed with the sentences of all."""
    message = "; ".join(line for summary in summaries for line in summary.lines())
    if all(summary.state == work.RunState.NOTHING_NEW for summary in summaries):
        return Completed(name="NothingNew", message=message)
    return Completed(message=message)


def absolute(url: str, name: str) -> str:
    """Refuse a relative folder: a worker runs each flow in a temporary folder, where it would vanish.

    Raises:
        UsageError: The folder is relative.
    """
    if "://" in url or Path(url).is_absolute():
        return url
    raise UsageError(f"{name} {url!r} is a relative folder; a worker runs elsewhere: give an absolute path or a URL")


def command_line(flow: Flow[..., State[None]]) -> None:
    """Run a flow from the shell, `python -m flows.NAME --root …`; relative folders are those of the shell."""
    from cyclopts import App, Parameter

    @functools.wraps(flow.fn)
    def run(**parameters: str | float | None) -> int:
        for name in {"archive", "root"} & parameters.keys():
            place = str(parameters[name])
            parameters[name] = place if "://" in place else str(Path(place).resolve())
        state = flow(**parameters, return_state=True)
        return 0 if state.is_completed() else 1

    everything_by_name = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(flow.fn).parameters.values()
    ]
    run.__signature__ = inspect.Signature(everything_by_name, return_annotation=int)  # type: ignore[attr-defined]  # read by cyclopts
    app = App(name=f"python -m flows.{flow.name}", help_formatter="plain", default_parameter=Parameter(negative=()))
    app.default(run)
    app()
