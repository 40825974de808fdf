"""The command line: names the commands and turns every error into one sentence and an exit code.

Nothing heavy is imported here; a command loads what it needs when it is called.
"""

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version

from cyclopts import App, Parameter

from cardioclarity.commands import cleaning, damage, evaluating, upkeep, verbs
from cardioclarity.errors import CardioClarityError, leave

RESEARCH_USE = "Research use only, not for diagnostic use."

app = App(
    name="cardioclarity",
    help=f"Watches ECG archives for unusual rates, rhythms and beats. {RESEARCH_USE}",
    help_formatter="plain",
    version=f"cardioclarity {version('cardioclarity')}. {RESEARCH_USE}",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # `main` says what an interrupt means
)
_COMMANDS: tuple[Callable[..., int], ...] = (
    *(verbs.demo, verbs.convert, verbs.train, verbs.score, verbs.report),
    *(evaluating.evaluate, evaluating.detectors),
    *(upkeep.runs, upkeep.models),
    *(damage.verify, cleaning.gc, upkeep.doctor),
)
for _place, _command in enumerate(_COMMANDS):
    app.command(_command, sort_key=_place)


def run(arguments: Sequence[str]) -> int | str | None:
    """Run one command and give its exit code: 0 done, 1 failed, 2 usage, 3 done with quarantine, 4 damage found."""
    try:
        app(arguments)
    except SystemExit as ended:
        return ended.code
    except CardioClarityError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; run the same command again, nothing is done twice", file=sys.stderr)  # noqa: T201
        return 128 + signal.SIGINT
    return 0


def main() -> None:
    """Run one command and end the process with its exit code."""
    leave(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
