"""Options, environment and AWS files are read once, alike for s3fs, obstore and deltalake; secrets go nowhere else."""

import datetime as dt
import logging
import os
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest
import scripted_store
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from cardioclarity.config import StorageOptions
from cardioclarity.errors import StorageError, UsageError
from cardioclarity.storage import credentials, open_storage
from cardioclarity.storage.arguments import for_deltalake, for_fsspec, for_obstore, for_s3fs
from cardioclarity.storage.credentials import resolve


@pytest.fixture
def aws(tmp_path, monkeypatch):
    """An empty AWS environment with files of its own; call it with their text."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    def write(config: str = "", keys: str = "") -> None:
        (tmp_path / "config").write_text(textwrap.dedent(config))
        (tmp_path / "credentials").write_text(textwrap.dedent(keys))
        credentials._session.cache_clear()

    write()
    return write


@pytest.fixture
def keyed(aws, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")


# ---------------------------------------------------------------- what counts


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("endpoint", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("region", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_standard_variables_alone_are_enough(monkeypatch, endpoint, region):
    monkeypatch.setenv(endpoint, "http://127.0.0.1:9000/")
    monkeypatch.setenv(region, "eu-central-1")

    access = resolve(StorageOptions())

    assert (access.endpoint, access.region) == ("http://127.0.0.1:9000", "eu-central-1")
    assert (access.key, access.secret, access.token) == ("an-id", "hush-hush", None)
    assert access.addressing_style == "path"


@pytest.mark.usefixtures("keyed")
def test_an_option_stands_above_the_environment(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://other")
    monkeypatch.setenv("AWS_REGION", "there")

    access = resolve(StorageOptions(endpoint_url="https://mine", region="here", addressing_style="virtual"))

    assert (access.endpoint, access.region, access.addressing_style) == ("https://mine", "here", "virtual")


@pytest.mark.usefixtures("keyed")
def test_plain_aws_needs_no_option_and_keeps_its_own_host_names():
    access = resolve(StorageOptions())

    assert (access.endpoint, access.addressing_style) == (None, None)
    assert "addressing_style" not in for_s3fs(access)["config_kwargs"]["s3"]
    assert "endpoint" not in for_obstore(access, "bucket")
    assert "AWS_ENDPOINT_URL" not in for_deltalake(access, "bucket")


def test_a_public_bucket_needs_no_credentials(aws):
    access = resolve(StorageOptions(anon=True))

    assert access.key is None
    assert for_s3fs(access)["anon"] is True
    assert for_obstore(access, "bucket")["skip_signature"] is True
    assert for_deltalake(access, "bucket")["AWS_SKIP_SIGNATURE"] == "true"


PROFILES = """
    [default]
    region = default-region

    [profile night]
    region = night-region
    endpoint_url = https://night.example
    s3 =
        addressing_style = virtual

    [profile serviced]
    services = mine

    [services mine]
    s3 =
        endpoint_url = https://serviced.example
"""
KEYS = """
    [night]
    aws_access_key_id = night-id
    aws_secret_access_key = night-hush

    [serviced]
    aws_access_key_id = serviced-id
    aws_secret_access_key = serviced-hush
    aws_session_token = serviced-token
"""


@pytest.mark.usefixtures("keyed")
def test_a_named_profile_goes_before_the_environment(aws, monkeypatch):
    aws(PROFILES, KEYS)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other")
    monkeypatch.setenv("AWS_REGION", "there")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")

    named, other = resolve(StorageOptions(profile="night")), resolve(StorageOptions())

    assert (named.key, named.secret, named.token) == ("night-id", "night-hush", None)
    assert (named.endpoint, named.region) == ("https://night.example", "night-region")
    assert named.addressing_style == "virtual"
    assert (other.key, other.token, other.endpoint, other.region) == ("an-id", "a-token", "http://other", "there")


def test_the_profile_of_the_environment_is_read_too(aws, monkeypatch):
    aws(PROFILES, KEYS)
    monkeypatch.setenv("AWS_PROFILE", "serviced")

    access = resolve(StorageOptions())

    assert (access.key, access.token) == ("serviced-id", "serviced-token")
    assert access.endpoint == "https://serviced.example"


def test_archive_and_root_each_have_their_own_profile(aws, monkeypatch):
    aws(PROFILES, KEYS)

    one, other = (
        open_storage("s3://b", StorageOptions(profile=profile)).delta_options() for profile in ("night", "serviced")
    )

    assert (one["AWS_ACCESS_KEY_ID"], other["AWS_ACCESS_KEY_ID"]) == ("night-id", "serviced-id")


# ---------------------------------------------------------------- what is missing or passes


@pytest.mark.parametrize(
    ("options", "environ", "said"),
    [
        (StorageOptions(), {}, "no usable credentials; set AWS_ACCESS_KEY_ID .* or give --anon"),
        (StorageOptions(), {"AWS_ACCESS_KEY_ID": "half"}, "no usable credentials"),
        (StorageOptions(profile="absent"), {}, "no such AWS profile; check AWS_PROFILE"),
        (StorageOptions(), {"AWS_PROFILE": "absent"}, "no such AWS profile; check AWS_PROFILE"),
    ],
)
def test_missing_credentials_have_their_own_words(aws, monkeypatch, options, environ, said):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    storage = open_storage("s3://bucket/x", options)

    for call in (
        lambda: storage.fetch("k"),
        lambda: list(storage.list()),
        storage.delta_options,
        storage.fsspec_options,
    ):
        with pytest.raises(StorageError, match=said) as caught:
            call()
        assert str(caught.value).startswith("s3://bucket/x: cannot ")


def test_credentials_that_pass_are_renewed_before_they_do(aws, tmp_path):
    issuer = tmp_path / "issuer.py"
    issuer.write_text(
        textwrap.dedent(f"""
        import json, pathlib
        counter = pathlib.Path({str(tmp_path / "count")!r})
        n = int(counter.read_text()) if counter.exists() else 0
        counter.write_text(str(n + 1))
        until = {(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)).isoformat()!r}
        print(json.dumps(dict(Version=1, AccessKeyId=f"id-{{n}}", SecretAccessKey="s", SessionToken="t", Expiration=until)))
        """)
    )
    aws(f"[default]\ncredential_process = {sys.executable} {issuer}\n")

    assert [resolve(StorageOptions()).key for _ in range(2)] == ["id-1", "id-2"]


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_keys_that_were_exchanged_under_a_running_night_are_read_anew(aws, monkeypatch, client):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", client)
    keys = "[default]\naws_access_key_id = {}\naws_secret_access_key = hush\n"
    aws(keys=keys.format("old"))
    with scripted_store.running() as store:
        storage = open_storage("s3://bucket", StorageOptions(endpoint_url=store.endpoint))
        storage.put_new("k", b"1")
        Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(keys.format("new"))
        assert storage.fetch("k") == b"1"
        store.first = [(400, "ExpiredToken")]
        assert storage.fetch("k") == b"1"

    used = [headers["authorization"].split("Credential=")[1].split("/")[0] for headers in store.headers]
    assert used == ["old", "old", "old", "new"]


@pytest.mark.usefixtures("keyed")
def test_an_expired_token_without_a_new_one_is_told_at_once():
    with scripted_store.running() as store:
        store.first = [(400, "ExpiredToken")] * 5
        with pytest.raises(StorageError, match="the credentials have expired; get fresh ones"):
            open_storage("s3://bucket", StorageOptions(endpoint_url=store.endpoint)).fetch("k")
        assert len(store.asked) == 1


# ---------------------------------------------------------------- in the words of the libraries


@pytest.mark.usefixtures("keyed")
def test_only_our_own_layer_sends_again():
    access = resolve(StorageOptions(endpoint_url="http://127.0.0.1:9000"))

    assert for_s3fs(access)["config_kwargs"]["retries"]["total_max_attempts"] == 1
    assert for_obstore(access, "b")["retry_config"]["max_retries"] == 0


@pytest.mark.usefixtures("keyed")
def test_listings_are_never_cached():
    arguments = for_s3fs(resolve(StorageOptions()))

    assert arguments["use_listings_cache"] is False
    assert arguments["skip_instance_cache"] is True


@pytest.mark.usefixtures("keyed")
def test_deltalake_is_held_to_create_only_commits_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    monkeypatch.setenv("AWS_S3_ALLOW_UNSAFE_RENAME", "true")
    with scripted_store.running() as store:
        root = open_storage("s3://bucket", StorageOptions(endpoint_url=store.endpoint))
        DeltaTable.create(root.join("t"), pa.schema([("a", pa.int64())]), storage_options=root.delta_options())

        puts = [headers for asked, headers in zip(store.asked, store.headers, strict=True) if asked.startswith("PUT")]
    assert [headers.get("if-none-match") for headers in puts] == ["*"]
    assert list(store.objects) == ["/bucket/t/_delta_log/00000000000000000000.json"]


def test_deltalake_does_not_mix_a_token_of_the_environment_with_the_keys_of_a_profile(aws, monkeypatch):
    aws(PROFILES, KEYS)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    with scripted_store.running() as store:
        options = StorageOptions(profile="night", endpoint_url=store.endpoint, addressing_style="path")
        root = open_storage("s3://bucket", options)
        with pytest.raises(TableNotFoundError):
            DeltaTable(root.join("t"), storage_options=root.delta_options())
        root.put_new("k", b"1")
        root.fetch("k")

    assert {headers.get("x-amz-security-token", "") for headers in store.headers} == {""}
    assert len(store.headers) >= 3


@pytest.mark.usefixtures("keyed")
def test_a_host_per_bucket_is_spelled_for_every_client():
    access = resolve(StorageOptions(endpoint_url="https://store.example:9000", addressing_style="virtual"))

    assert for_s3fs(access)["config_kwargs"]["s3"]["addressing_style"] == "virtual"
    assert for_obstore(access, "b")["endpoint"] == "https://b.store.example:9000"
    assert for_deltalake(access, "b")["AWS_ENDPOINT_URL"] == "https://b.store.example:9000"


# ---------------------------------------------------------------- secrets


@pytest.mark.usefixtures("keyed")
def test_no_secret_is_shown_logged_or_handed_to_a_library_that_reads_the_chain_itself(monkeypatch, caplog):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hush-token")
    with scripted_store.running() as store, caplog.at_level(logging.DEBUG, "cardioclarity"):
        storage = open_storage("s3://bucket", StorageOptions(endpoint_url=store.endpoint))
        store.first = [(500, "InternalError")]
        storage.put_new("k", b"1")
        access = resolve(storage.options)

    for shown in (repr(access), repr(storage), repr(storage.fsspec_options()), repr(for_fsspec(access)), caplog.text):
        assert "hush" not in shown
    assert "try 1: the store answers 500" in caplog.text


@pytest.mark.parametrize("url", ["https://key:hush@store", "http://hush@store:80"])
def test_an_endpoint_with_credentials_in_it_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="an endpoint never holds credentials") as caught:
        StorageOptions(endpoint_url=url)

    assert "hush" not in str(caught.value)


@pytest.mark.usefixtures("keyed")
def test_an_endpoint_of_the_environment_is_shown_without_its_credentials(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://key:hush@127.0.0.1:9")
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")

    with pytest.raises(StorageError, match=r"the store at http://127.0.0.1:9 ") as caught:
        open_storage("s3://bucket").fetch("k")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint_url": "store:9000"}, "is no address: give one like https://host:port"),
        ({"endpoint_url": "ftp://store"}, "is no address"),
        ({"endpoint_url": "https://"}, "is no address"),
        ({"addressing_style": "auto"}, "give path or virtual"),
        ({"anon": True, "profile": "night"}, "exclude each other"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        StorageOptions(**options)
