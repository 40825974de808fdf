"""The flow `convert`: an archive into the root; only what is new."""

from prefect import flow
from prefect.client.schemas.objects import State

from cardioclarity.config import ConvertConfig, ParallelConfig
from cardioclarity.convert import CONVERT
from flows import steps


@flow(name="convert", persist_result=False, retries=0)
def convert(  # noqa: PLR0913, PLR0917 - Prefect shows one form field per parameter
    archive: str,
    root: str,
    anon: bool = False,  # noqa: FBT001, FBT002
    retry_quarantined: bool = False,  # noqa: FBT001, FBT002
    patients: str | None = None,
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
    """Read an archive into the root; only what is new.

    Args:
        archive: URL or absolute folder of the ECG files.
        root: URL or absolute folder of the deployment.
        anon: Read the archive, a public bucket, without credentials.
        retry_quarantined: Try again what was set aside and has not changed since.
        patients: CSV file with the columns source_key and patient, URL or absolute path; where the archive knows.
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
    config = ConvertConfig(
        archive=steps.absolute(archive, "archive"),
        root=steps.absolute(root, "root"),
        root_storage=steps.storage(root_endpoint_url, root_region, root_profile, root_addressing_style),
        archive_storage=steps.storage(
            archive_endpoint_url, archive_region, archive_profile, archive_addressing_style, anon=anon
        ),
        retry_quarantined=retry_quarantined,
        patients=patients and steps.absolute(patients, "patients"),
    )
    return steps.ended(steps.drive(CONVERT, config, ParallelConfig(workers=workers, scheduler=scheduler)))


if __name__ == "__main__":
    steps.command_line(convert)
