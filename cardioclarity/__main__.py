"""The command line: names the commands and turns every error into one sentence and an exit code.

Nothing heavy is imported here; a command's module is loaded when the command is called.
"""

import signal
import sys
import traceback
from importlib.metadata import version

from cyclopts import App, Parameter

from cardioclarity.errors import CardioClarityError, leave

RESEARCH_USE = "Research use only, not for diagnostic use."

app = App(
    name="cardioclarity",
    help=f"Watches ECG archives for unusual rates, rhythms and beats. {RESEARCH_USE}",
    help_formatter="plain",
    version=f"cardioclarity {version('cardioclarity')}. {RESEARCH_USE}",
    default_parameter=Parameter(negative=()),
)
for _where, _name, _help in (
    ("verbs", "demo", "Synthetic (or given) archive → convert → train → score → report; says where the page is."),
    ("verbs", "convert", "Archive → segments and catalog; only what is new."),
    ("verbs", "train", "Fit and calibrate a model on normal beats; it becomes champion where the root has none."),
    ("verbs", "score", "Score what is new; judge stored evidence again where only the alarm level changed."),
    ("verbs", "report", "Write the HTML page of a scoring run."),
    ("upkeep", "runs", "List the runs; fail when a night is missing."),
    ("upkeep", "models", "List the models; move the champion."),
):
    app.command(f"cardioclarity.commands.{_where}:{_name}", name=_name, help=_help)


def main() -> None:
    """Run one command and exit: 0 done, 1 failed, 2 usage, 3 done with quarantine, 4 damage found."""
    code: int | str | None = 0
    try:
        app()
    except SystemExit as ended:
        code = ended.code
    except CardioClarityError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted; run the same command again, nothing is done twice", file=sys.stderr)  # noqa: T201
        code = 128 + signal.SIGINT
    leave(code)


if __name__ == "__main__":
    main()
