"""The flow `backfill`: an archive in bounded batches, each converted, scored and published before the next."""

from prefect import flow
from prefect.client.schemas.objects import State

from cardioclarity.config import ConvertConfig, ParallelConfig, ScoreConfig
from cardioclarity.convert import CONVERT
from cardioclarity.score import SCORE
from cardioclarity.work import RunState
from flows import steps


@flow(name="backfill", persist_result=False, retries=0)
def backfill(  # noqa: PLR0913, PLR0917 - Prefect shows one form field per parameter
    archive: str,
    root: str,
    batch_records: int = 10_000,
    anon: bool = False,  # noqa: FBT001, FBT002
    patients: str | None = None,
    model: str | None = None,
    alarms_per_hour: float = steps.SCORING.alarms_per_hour,
    rhythm_alarms_per_hour: float = steps.SCORING.rhythm_alarms_per_hour,
    tachycardia_bpm: float = steps.SCORING.tachycardia_bpm,
    bradycardia_bpm: float = steps.SCORING.bradycardia_bpm,
    pause_s: float = steps.SCORING.pause_s,
    rate_change: float = steps.SCORING.rate_change,
    workers: int | None = None,
    scheduler: str | None = None,
    archive_endpoint_url: str | None = None,
    archive_region: str | None = None,
    archive_profile: str | None = None,
    archive_addressing_style: steps.Addressing | None = None,
    root_endpoint_url: str | None = None,
    root_region: str | None = None,
    root_profile: str | None = None,
    root_addressing_style: steps.Addressing | None = None,
) -> State[None]:
    """Convert and score an archive batch by batch; stopped at any point, the next start goes on where it was.

    What is left to do is the difference between the listing and the tables, so there is no state to lose.

    Args:
        archive: URL or absolute folder of the ECG files, written as for `nightly`: deliveries are known by it.
        root: URL or absolute folder of the deployment; it needs a champion model, or `model`.
        batch_records: Records per batch; the archive is listed once per batch.
        anon: Read the archive, a public bucket, without credentials.
        patients: CSV file with the columns source_key and patient, URL or absolute path; where the archive knows.
        model: Id of the model; the champion without.
        alarms_per_hour: Accepted false alarms of the beat head per hour of normal ECG.
        rhythm_alarms_per_hour: The same for the rhythm head.
        tachycardia_bpm: A 10-s window whose mean rate is above is tachycardia.
        bradycardia_bpm: A 10-s window whose mean rate is below is bradycardia.
        pause_s: An RR interval of at least this length is a pause.
        rate_change: A rate that changes by more than this ratio from eight beats to the next eight is an abrupt change.
        workers: Local worker processes; 0 works in the flow's process.
        scheduler: Address of a running Dask scheduler.
        archive_endpoint_url: Address of the S3-like store of the archive; the worker's AWS environment decides where empty.
        archive_region: Region of its bucket.
        archive_profile: Profile in the worker's AWS configuration, for credentials of its own.
        archive_addressing_style: Name the bucket in the path or in the host name; path where an endpoint is given.
        root_endpoint_url: Address of the S3-like store of the root; the worker's AWS environment decides where empty.
        root_region: Region of its bucket.
        root_profile: Profile in the worker's AWS configuration, for credentials of its own.
        root_addressing_style: Name the bucket in the path or in the host name; path where an endpoint is given.
    """
    archive, root = steps.absolute(archive, "archive"), steps.absolute(root, "root")
    root_storage = steps.storage(root_endpoint_url, root_region, root_profile, root_addressing_style)
    source = steps.storage(archive_endpoint_url, archive_region, archive_profile, archive_addressing_style, anon=anon)
    where = ParallelConfig(workers=workers, scheduler=scheduler)
    converting = ConvertConfig(
        archive=archive,
        root=root,
        root_storage=root_storage,
        archive_storage=source,
        patients=patients and steps.absolute(patients, "patients"),
        max_records=batch_records,
    )
    scoring = ScoreConfig(
        root=root,
        root_storage=root_storage,
        model=model,
        alarms_per_hour=alarms_per_hour,
        rhythm_alarms_per_hour=rhythm_alarms_per_hour,
        tachycardia_bpm=tachycardia_bpm,
        bradycardia_bpm=bradycardia_bpm,
        pause_s=pause_s,
        rate_change=rate_change,
    )
    batches = [steps.drive(CONVERT, converting, where), steps.drive(SCORE, scoring, where)]
    while batches[-2].state != RunState.NOTHING_NEW:
        batches += [steps.drive(CONVERT, converting, where), steps.drive(SCORE, scoring, where)]
    return steps.ended(*batches)


if __name__ == "__main__":
    steps.command_line(backfill)
