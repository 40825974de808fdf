"""The command that frees what nobody can need."""

import time

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
from cardioclarity.errors import ExitCode

_OUTPUT = Output()
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def gc(
    *,
    root: Root = None,
    older_than: str = "7d",
    dry_run: bool = False,
    force: bool = False,
    root_storage: RootStorage = ROOT_STORAGE,
    output: Output = _OUTPUT,
) -> int:
    """Free what killed and replaced runs left behind; never what a reader or a running command needs.

    Example: cardioclarity gc --root ./results --dry-run

    Args:
        root: Folder or URL of the deployment.
        older_than: Only what has not changed for so long by the store's clock; longer than any run and any reader takes.
        dry_run: Say what would be freed and delete nothing.
        force: Take a shorter time than a day, and free more than a tenth of the root at once.
        root_storage: How to reach the root.
        output: How the command speaks.
    """
    from cardioclarity.garbage import GcConfig, collect
    from cardioclarity.waste import KINDS

    started = time.perf_counter()
    age = duration(older_than)
    with speaking(output):
        freed = collect(
            GcConfig(
                root=chosen_root(root), root_storage=root_storage.options, older_than=age, dry_run=dry_run, force=force
            )
        )
    if output.json:
        say_json(
            {
                "verb": "gc",
                "dry_run": dry_run,
                "older_than_s": age.total_seconds(),
                "classes": {kind: {"objects": n, "bytes": size} for kind, (n, size) in freed.classes.items()},
                "objects": freed.total.objects,
                "bytes": freed.total.size,
                "withdrawn": {"objects": freed.withdrawn.objects, "bytes": freed.withdrawn.size},
                "left": {"objects": freed.left.objects, "bytes": freed.left.size},
                "allowed_objects": freed.allowed,
                "needs_force": bool(freed.refusal),
                "seconds": since(started),
            }
        )
        return ExitCode.DONE
    rows: list[list[object]] = [[k, n, in_units(size), KINDS[k]] for k, (n, size) in freed.classes.items()]
    say_table(("class", "objects", "size", "what"), rows)
    does, did = ("would free", "would be taken") if dry_run else ("freed", "were taken")
    say(f"{does} {freed.total.objects} objects, {in_units(freed.total.size)}, unchanged for {older_than}")
    if freed.withdrawn.objects:
        say(
            f"{freed.withdrawn.objects} files of runs that died before they published {did} out of the tables; a later gc"
            f" frees their {in_units(freed.withdrawn.size)}"
        )
    if freed.left.objects:
        say(
            f"left {freed.left.objects} objects, {in_units(freed.left.size)}: one run frees at most {freed.allowed}, a"
            " tenth of the root; look at --dry-run, then run it again or give --force"
        )
    if freed.refusal:
        say(f"without --dry-run this is refused: {freed.refusal}")
    return ExitCode.DONE


def in_units(size: int) -> str:
    """Write a number of bytes for people, with three digits."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value >= 99.95 or unit == 0 else f"{value:.3g} {_UNITS[unit]}"
