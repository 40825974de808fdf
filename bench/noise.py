"""D11: windows under the recorded noise of the Noise Stress Test Database that are declared unreadable, and clean ones."""

from collections.abc import Sequence
from pathlib import Path

from bench import mitbih
from bench.rows import Row

LEAST_NOISE = 0.97
MOST = {"clean_unreadable_share": 0.01, "vt_unreadable_share": 0.03}


def measure(
    archive: Path | None = None, *, names: Sequence[str] = mitbih.DEVELOPMENT, noise: Path | None = None
) -> list[Row]:
    """Run the protocol `nstdb-noise` of `cardioclarity evaluate` on some records.

    Args:
        archive: Folder of MIT-BIH.
        names: Its records.
        noise: Folder of the noise records; `nstdb/` beside the archive by default.
    """
    archive = archive or mitbih.archive()
    found = mitbih.evaluate("nstdb-noise", [archive, noise or archive.parent / "nstdb"], names)
    return [
        Row(
            goal="D11" if subset == "all" else "",
            what=name if name in MOST else f"{name}, {subset}",
            unit="",
            ours=one.value,
            low=one.low,
            high=one.high,
            at_least=LEAST_NOISE if (name, subset) == ("noise_unreadable_share", "all") else None,
            at_most=MOST.get(name),
        )
        for (name, subset), one in found.items()
    ]
