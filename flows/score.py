"""The flow `score`: what the model has not scored yet."""

from prefect import flow
from prefect.client.schemas.objects import State

from cardioclarity.config import ParallelConfig, ScoreConfig
from cardioclarity.score import SCORE
from flows import steps


@flow(name="score", persist_result=False, retries=0)
def score(  # noqa: PLR0913, PLR0917 - Prefect shows one form field per parameter
    root: str,
    model: str | None = None,
    alarms_per_hour: float = steps.SCORING.alarms_per_hour,
    rhythm_alarms_per_hour: float = steps.SCORING.rhythm_alarms_per_hour,
    tachycardia_bpm: float = steps.SCORING.tachycardia_bpm,
    bradycardia_bpm: float = steps.SCORING.bradycardia_bpm,
    pause_s: float = steps.SCORING.pause_s,
    rate_change: float = steps.SCORING.rate_change,
    workers: int | None = None,
    scheduler: str | None = None,
    root_endpoint_url: str | None = None,
    root_region: str | None = None,
    root_profile: str | None = None,
    root_addressing_style: steps.Addressing | None = None,
) -> State[None]:
    """Score what is new and publish; where only a level or limit changed, stored evidence is judged again.

    Args:
        root: URL or absolute folder of the deployment.
        model: Id of the model; the champion without.
        alarms_per_hour: Accepted false alarms of the beat head per hour of normal ECG.
        rhythm_alarms_per_hour: The same for the rhythm head.
        tachycardia_bpm: A 10-s window whose mean rate is above is tachycardia.
        bradycardia_bpm: A 10-s window whose mean rate is below is bradycardia.
        pause_s: An RR interval of at least this length is a pause.
        rate_change: A rate that changes by more than this ratio from eight beats to the next eight is an abrupt change.
        workers: Local worker processes; 0 works in the flow's process.
        scheduler: Address of a running Dask scheduler.
        root_endpoint_url: Address of the S3-like store of the root; the worker's AWS environment decides where empty.
        root_region: Region of its bucket.
        root_profile: Profile in the worker's AWS configuration, for credentials of its own.
        root_addressing_style: Name the bucket in the path or in the host name; path where an endpoint is given.
    """
    config = ScoreConfig(
        root=steps.absolute(root, "root"),
        root_storage=steps.storage(root_endpoint_url, root_region, root_profile, root_addressing_style),
        model=model,
        alarms_per_hour=alarms_per_hour,
        rhythm_alarms_per_hour=rhythm_alarms_per_hour,
        tachycardia_bpm=tachycardia_bpm,
        bradycardia_bpm=bradycardia_bpm,
        pause_s=pause_s,
        rate_change=rate_change,
    )
    return steps.ended(steps.drive(SCORE, config, ParallelConfig(workers=workers, scheduler=scheduler)))


if __name__ == "__main__":
    steps.command_line(score)
