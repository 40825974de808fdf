"""A bucket keeps the law of every store whatever becomes of requests and answers on the way, through both clients."""

import datetime as dt
import hashlib
import os
import ssl
import threading
from ipaddress import ip_address

import pytest
import scripted_store
from deltalake import DeltaTable
from scripted_store import CUT, LOST, STORED, ScriptedStore
from servers.proxy import Kind, faulty

from cardioclarity.config import ConvertConfig, StorageOptions
from cardioclarity.convert import CONVERT
from cardioclarity.errors import ConflictError, StorageError, UnreadableFileError
from cardioclarity.storage import Storage, open_storage, retries
from cardioclarity.storage.answers import Again, StoreError
from cardioclarity.storage.bare import Bare
from cardioclarity.storage.fast import is_chosen
from cardioclarity.synthetic import MIT, Scene, ecg, wfdb_files
from cardioclarity.vocabulary import Reason
from cardioclarity.work import drive


@pytest.fixture(scope="module")
def running():
    with scripted_store.running() as store:
        yield store


def use(store: ScriptedStore, monkeypatch) -> None:
    for name in [*(name for name in os.environ if name.startswith("AWS_")), "SSL_CERT_FILE"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "CARDIOCLARITY_RETRY_S": "30",
    }.items():
        monkeypatch.setenv(name, value)
    for again in retries._FIRST_S:
        monkeypatch.setitem(retries._FIRST_S, again, 0.01)


@pytest.fixture
def server(running, monkeypatch) -> ScriptedStore:
    """A scripted store, empty and with nothing to say; its clients are the same in all tests, as they are slow to make."""
    running.reset()
    use(running, monkeypatch)
    return running


@pytest.fixture(params=["s3fs", "obstore"])
def bucket(request, server: ScriptedStore, monkeypatch) -> Storage:
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", request.param)
    return open_storage("s3://bucket/pre/fix")


@pytest.fixture
def impatient(server, monkeypatch) -> None:
    """Two tries and no more."""
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return [listed.key for listed in storage.list(prefix)]


# ---------------------------------------------------------------- requests


def test_an_object_is_read_by_one_request(bucket, server):
    bucket.put_new("k", b"x" * 100)
    server.asked.clear()

    bucket.fetch("k")

    assert server.asked == ["GET /bucket/pre/fix/k"]


@pytest.mark.parametrize("size", [0, 20_000_000])
def test_an_object_is_written_by_one_put_that_creates(bucket, server, size):
    bucket.put_new("k", b"x" * size)

    assert server.asked == ["PUT /bucket/pre/fix/k"]
    assert server.headers[0]["if-none-match"] == "*"


def test_a_listing_goes_through_all_pages_and_leaves_out_what_is_no_key(bucket, server, caplog):
    objects = {f"{i}/ä b": b"12" for i in range(5)}
    bucket.put_all_new(objects)
    server.objects |= {"/bucket/pre/fix/empty/": b"", "/bucket/pre/fix/a//b": b"", "/bucket/pre/fixed": b""}

    listed = list(bucket.list())

    assert [(item.key, item.size, item.version) for item in listed] == [(key, 2, "e") for key in objects]
    assert {item.modified for item in listed} == {dt.datetime(2026, 11, 26, 1, 2, 3, tzinfo=dt.UTC)}
    assert keys(bucket, "3") == ["3/ä b"]
    assert "1 objects have names that are no plain keys" in caplog.text


def test_what_another_process_wrote_is_listed_at_once(bucket, server):
    assert keys(bucket) == []

    server.objects["/bucket/pre/fix/new"] = b""

    assert keys(bucket) == ["new"]


def test_no_more_than_sixteen_requests_are_under_way_whoever_asks(bucket, server):
    server.pause_s = 0.02
    objects = {f"{i}": b"" for i in range(60)}
    threads = [
        threading.Thread(target=bucket.put_all_new, args=({f"{n}/{key}": b"" for key in objects},)) for n in range(3)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(server.objects) == 180
    assert 8 <= server.most_at_once <= 16


def test_a_bucket_may_be_called_like_an_archive_file(bucket, server):
    open_storage("s3://ecg.2026.zip").put_new("k", b"1")

    assert server.objects == {"/ecg.2026.zip/k": b"1"}


def test_a_bucket_hides_nothing(bucket):
    bucket.put_new("a/.tmp-0123", b"1")

    assert (keys(bucket), list(bucket.leftovers())) == (["a/.tmp-0123"], [])


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_a_bucket_is_addressed_by_path_or_by_host(server, monkeypatch, client, style):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", client)
    monkeypatch.setenv("http_proxy", server.endpoint)  # so that any host name leads to the scripted store
    options = StorageOptions(endpoint_url="http://store.example", addressing_style=style)

    open_storage("s3://bucket/x", options).replace("k", b"1")

    host, path = {"path": ("store.example", "/bucket/x/k"), "virtual": ("bucket.store.example", "/x/k")}[style]
    assert server.headers[0]["host"] == host
    assert list(server.objects) == [path]


# ---------------------------------------------------------------- answers that are lost, late or broken


def test_a_create_whose_answer_is_lost_has_succeeded(bucket, server):
    server.first = [LOST]

    bucket.put_new("k", b"1")

    assert server.objects == {"/bucket/pre/fix/k": b"1"}


def test_a_create_that_was_done_but_called_a_failure_counts_as_ours(bucket, server):
    server.first = [STORED]

    assert bucket.put_new("k", b"1") is True

    assert server.asked == ["PUT /bucket/pre/fix/k"] * 2 + ["GET /bucket/pre/fix/k"]


@pytest.mark.parametrize("fault", [LOST, STORED, (500, "InternalError")])
def test_a_create_whose_answer_is_lost_after_another_has_won_is_a_conflict(bucket, server, fault):
    bucket.put_new("k", b"theirs")
    server.first = [fault]

    with pytest.raises(ConflictError):
        bucket.put_new("k", b"ours")

    assert server.objects == {"/bucket/pre/fix/k": b"theirs"}


def test_a_create_that_meets_a_delete_is_asked_again(bucket, server):
    server.first = [(409, "ConditionalRequestConflict")] * 2

    assert bucket.put_new("k", b"1") is True

    assert server.objects == {"/bucket/pre/fix/k": b"1"}


def test_a_create_that_was_refused_for_an_object_that_is_gone_since_is_asked_again(bucket, server):
    server.first = [(412, "PreconditionFailed")]

    assert bucket.put_new("k", b"1") is True

    assert server.objects == {"/bucket/pre/fix/k": b"1"}


@pytest.mark.usefixtures("impatient")
def test_a_create_that_meets_deletes_for_ever_gives_up(bucket, server):
    server.first = [(409, "ConditionalRequestConflict")] * 100

    with pytest.raises(StorageError, match=r"cannot write k: .*\(after 2 tries in . s\)"):
        bucket.put_new("k", b"1")

    assert server.asked == ["PUT /bucket/pre/fix/k"] * 2


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_body_that_ends_before_its_length_is_never_handed_out(bucket, server, size):
    data = bytes(range(10)) * (size // 10)
    bucket.put_new("k", data)
    server.first = [CUT, CUT]
    server.asked.clear()

    assert bucket.fetch("k") == data

    assert server.asked == ["GET /bucket/pre/fix/k"] * 3


@pytest.mark.usefixtures("impatient")
def test_a_body_that_always_breaks_off_is_told(bucket, server):
    bucket.put_new("k", b"0123456789")
    server.first = [CUT] * 9

    with pytest.raises(StorageError, match=r"the answer of the store at http://.* broke off; .*\(after 2 tries"):
        bucket.fetch("k")


def test_a_page_of_a_listing_that_breaks_off_is_asked_again(bucket, server):
    objects = {str(i): b"" for i in range(5)}
    bucket.put_all_new(objects)
    server.first = [CUT, (500, "InternalError"), LOST]

    assert keys(bucket) == list(objects)


@pytest.mark.parametrize("fault", [(500, "InternalError"), (502, ""), (504, ""), (503, "SlowDown"), (429, "")])
def test_every_request_is_sent_again_after_what_may_pass(bucket, server, fault):
    bucket.put_new("k", b"1")

    for call in (
        lambda: bucket.fetch("k"),
        lambda: bucket.replace("k", b"1"),
        lambda: keys(bucket),
        bucket.exists,
        bucket.now,
        lambda: bucket.delete("k"),
    ):
        server.asked.clear()
        server.first = [fault]
        call()
        assert len(server.asked) == 2


def test_a_refusal_for_good_is_asked_once(bucket, server):
    for call in (lambda: bucket.fetch("k"), lambda: keys(bucket), lambda: bucket.put_new("k", b"1")):
        server.asked.clear()
        server.first = [(403, "AccessDenied")] * 9
        with pytest.raises(StorageError):
            call()
        assert len(server.asked) == 1


# ---------------------------------------------------------------- bytes that are not those of their ETag


@pytest.fixture
def etagged(bucket, server, monkeypatch):
    """A bucket of which nothing is known yet; fills it with objects under ETags, by default their MD5s."""
    monkeypatch.setattr("cardioclarity.storage.bucket._HAS_MD5", {})

    def fill(key: str, data: bytes, **more: str) -> None:
        path = f"/bucket/pre/fix/{key}"
        server.objects[path] = data
        server.more[path] = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'} | more

    return fill


def test_a_bit_that_flips_on_the_way_is_read_again(bucket, server, etagged, monkeypatch):
    etagged("k", b"bytes" * 100)
    with faulty(server.endpoint, script=lambda request: Kind.FLIPPED if request.attempt < 2 else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

        assert bucket.fetch("k") == bucket.fetch_checked("k") == b"bytes" * 100
        assert proxy.counts[Kind.FLIPPED] == 2


def rot(server, key: str) -> None:
    server.objects[f"/bucket/pre/fix/{key}"] = b"rotten"


def test_a_rotten_object_is_told_where_nothing_else_vouches_for_it(bucket, server, etagged):
    etagged("sound", b"sound")
    etagged("Miller.dat", b"once sound")
    rot(server, "Miller.dat")
    assert bucket.fetch_checked("sound") == b"sound"

    with pytest.raises(UnreadableFileError, match=r"'xxxxxx\.xxx' is damaged in the store") as caught:
        bucket.fetch_checked("Miller.dat")

    assert caught.value.reason is Reason.CHECKSUM_MISMATCH
    assert bucket.fetch("Miller.dat") == b"rotten"  # a digest of ours will tell


def test_a_rotten_object_that_is_read_first_does_not_end_the_check_of_its_bucket(bucket, server, etagged):
    for key in ("a", "b", "c"):
        etagged(key, key.encode())
    rot(server, "a")
    rot(server, "c")

    assert bucket.fetch_checked("a") == b"rotten"  # so far the bucket might be one without MD5s
    assert bucket.fetch_checked("b") == b"b"
    for key in ("a", "c"):
        with pytest.raises(UnreadableFileError):
            bucket.fetch_checked(key)


def test_in_a_bucket_without_md5s_each_object_but_the_first_is_read_once(bucket, server, etagged):
    for key in ("a", "b", "c"):
        etagged(key, key.encode(), ETag=f'"{"0" * 32}"')

    assert [bucket.fetch_checked(key) for key in ("a", "b", "c")] == [b"a", b"b", b"c"]
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "said",
    [
        {"x_amz_server_side_encryption": "aws:kms"},
        {"x_amz_server_side_encryption": "aws:kms:dsse"},
        {"x_amz_server_side_encryption_customer_algorithm": "AES256"},
    ],
)
def test_an_object_with_a_key_of_its_own_is_sound_beside_others_with_md5s(bucket, server, etagged, said):
    etagged("plain", b"plain", x_amz_server_side_encryption="AES256")
    etagged("keyed", b"keyed", ETag=f'"{"0" * 32}"', **said)

    assert bucket.fetch_checked("plain") == b"plain"
    assert [bucket.fetch_checked("keyed") for _ in range(2)] == [b"keyed"] * 2


def test_buckets_of_one_name_in_two_stores_are_two(bucket, server, etagged):
    etagged("sound", b"sound")
    assert bucket.fetch_checked("sound") == b"sound"
    with scripted_store.running() as other:
        other.objects["/bucket/k"] = b"k"
        other.more["/bucket/k"] = {"ETag": f'"{"0" * 32}"'}

        elsewhere = open_storage("s3://bucket", StorageOptions(endpoint_url=other.endpoint))

        assert elsewhere.fetch_checked("k") == b"k"


def test_a_rotten_file_of_an_archive_sets_aside_its_record_and_no_other(bucket, server, etagged, tmp_path):
    for name in ("a", "b"):
        for key, data in wfdb_files(ecg(Scene(name=name, seed=1, duration_s=20.0, rate_hz=360.0)), MIT).items():
            etagged(key, data)
    server.objects["/bucket/pre/fix/b.hea"] += b"# what only an ETag tells\n"
    bucket.fetch_checked("a.hea")

    summary = drive(CONVERT, ConvertConfig(archive=bucket.url, root=str(tmp_path)), map)

    (row,) = DeltaTable(str(tmp_path / "tables/quarantine")).to_pyarrow_table().to_pylist()
    assert (summary.done, row["source_key"], row["reason"]) == (1, "b.hea", "checksum_mismatch")


# ---------------------------------------------------------------- words


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", r"check the credentials .* clock; a public bucket needs --anon"),
        (403, "InvalidAccessKeyId", "does not know the access key .* AWS_PROFILE"),
        (403, "SignatureDoesNotMatch", "the secret does not fit the access key"),
        (403, "RequestTimeTooSkewed", "this machine's clock .* set the clock, best by NTP"),
        (400, "ExpiredToken", "the credentials have expired; get fresh ones"),
        (403, "ExpiredToken", "the credentials have expired; get fresh ones"),
        (404, "NoSuchBucket", "no such bucket; make it first"),
        (400, "AuthorizationHeaderMalformed", "check AWS_REGION"),
        (301, "PermanentRedirect", "another region; set AWS_REGION"),
        (400, "BadRequest", "whether AWS_ENDPOINT_URL must begin with https"),
        (503, "SlowDown", r"asks for fewer requests all the time; run the command again later \(after 2 tries"),
        (500, "InternalError", r"the store answers 500 \(InternalError\); run the command again later \(after 2"),
        (501, "NotImplemented", "it must support S3's conditional writes"),
        (405, "MethodNotAllowed", r"the store answers 405 \(MethodNotAllowed\); check AWS_ENDPOINT_URL"),
    ],
)
def test_each_refusal_of_a_store_is_one_sentence_with_a_remedy(bucket, server, status, code, said):
    server.first = [(status, code)] * 40

    for call in (lambda: keys(bucket), lambda: bucket.put_new("k", b"1"), lambda: bucket.fetch("k")):
        with pytest.raises(StorageError, match=said) as caught:
            call()
        assert str(caught.value).startswith("s3://bucket/pre/fix: cannot ")
        assert "\n" not in str(caught.value)
        assert "hush" not in str(caught.value)


def test_a_store_that_overwrites_what_is_there_is_refused_before_anything_is_published(bucket, server):
    server.overwrites = True

    with pytest.raises(
        StorageError, match=r"overwrites .* could mix two runs; .*cardioclarity doctor --root s3://bucket"
    ):
        bucket.require_create_only()

    assert server.objects == {}


def test_the_right_to_delete_is_not_needed_to_publish(bucket, server, caplog):
    server.first = [None, None, None, (403, "AccessDenied")]

    bucket.require_create_only()

    (left,) = server.objects
    assert f"cannot delete {left.removeprefix('/bucket/pre/fix/')}: the store refuses access" in caplog.text
    assert server.asked[-1] == f"DELETE {left}"


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_a_key_of_an_archive_is_never_shown(server, monkeypatch, client):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", client)
    server.first = [(403, "AccessDenied")]

    with pytest.raises(StorageError, match=r"cannot read 'xxxxxx/9999.xxx'") as caught:
        open_storage("s3://bucket").fetch("Miller/1950.hea")

    assert "Miller" not in str(caught.value)


@pytest.fixture
def certified(tmp_path):
    """The files of an authority, and of a key and a certificate of 127.0.0.1 that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def made(name: str, issuer: str, key, signer, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(signer, hashes.SHA256())
        )

    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    (tmp_path / "authority.pem").write_bytes(made("us", "us", authority, authority, ca=True).public_bytes(pem))
    chain = made("store", "us", server, authority, ca=False).public_bytes(pem) + server.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "server.pem").write_bytes(chain)
    return tmp_path


@pytest.fixture
def over_tls(bucket, certified, monkeypatch):
    """A store of its own that speaks https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified / "server.pem")
    with scripted_store.running(context) as store:
        use(store, monkeypatch)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{store.server_port}")
        yield store


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "AWS_CA_BUNDLE"])
def test_a_store_with_a_certificate_of_ones_own_authority_is_reached(
    bucket, over_tls, certified, monkeypatch, variable
):
    monkeypatch.setenv(variable, str(certified / "authority.pem"))

    bucket.put_new("k", b"1")

    assert (bucket.fetch("k"), keys(bucket)) == (b"1", ["k"])
    assert over_tls.headers[0]["x-amz-content-sha256"] == hashlib.sha256(b"1").hexdigest()


@pytest.mark.parametrize("client", ["s3fs", "obstore"])
def test_an_upload_carries_the_digest_of_its_body_in_the_signature(server, monkeypatch, client):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", client)

    open_storage("s3://bucket/x").put_new("k", b"bytes")

    (sent,) = server.headers
    assert sent["x-amz-content-sha256"] == hashlib.sha256(b"bytes").hexdigest()
    assert "x-amz-content-sha256" in sent["authorization"]


def test_the_client_that_judges_a_store_sends_what_the_judged_one_sends(server, monkeypatch):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", "s3fs")
    place = open_storage("s3://bucket/x")

    place.put_new("k", b"bytes")
    assert Bare.of(place).creates("k", b"bytes") is False

    ours, judging = ({name for name in sent if name.startswith(("x-amz", "content"))} for sent in server.headers)
    assert ours == judging
    assert server.headers[1]["x-amz-content-sha256"] == hashlib.sha256(b"bytes").hexdigest()


@pytest.mark.usefixtures("over_tls")
def test_a_certificate_that_nobody_vouches_for_is_told_at_once(bucket):
    for call in (lambda: keys(bucket), lambda: bucket.fetch("k")):
        with pytest.raises(
            StorageError, match=r"certificate of the store at https://.* is not trusted; set SSL_CERT_FILE"
        ):
            call()


def test_a_file_of_authorities_that_is_not_there_is_told(bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "absent"))

    with pytest.raises(StorageError, match="file of trusted certificates is missing; check AWS_CA_BUNDLE"):
        bucket.fetch("k")


def test_http_where_the_store_speaks_https_names_the_endpoint_and_the_remedy(bucket, over_tls, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", over_tls.endpoint)
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")

    for call in (lambda: keys(bucket), lambda: bucket.fetch("k"), lambda: bucket.put_new("k", b"")):
        with pytest.raises(StorageError, match=r"the store at http://127.0.0.1:\d+ .*http or https"):
            call()


# ---------------------------------------------------------------- the two clients


def test_obstore_is_used_where_it_is_installed_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("CARDIOCLARITY_S3_CLIENT", raising=False)
    assert is_chosen()

    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", "s3fs")
    assert not is_chosen()


def test_a_client_that_there_is_not_is_refused(bucket, monkeypatch):
    monkeypatch.setenv("CARDIOCLARITY_S3_CLIENT", "boto")

    with pytest.raises(Exception, match="CARDIOCLARITY_S3_CLIENT=boto: give s3fs or obstore"):
        bucket.fetch("k")


def test_both_clients_tell_the_same_of_every_refusal(server, monkeypatch):
    """What is asked again must not depend on the library that happens to be installed."""
    from cardioclarity.storage import credentials
    from cardioclarity.storage.fast import FastClient
    from cardioclarity.storage.plain import PlainClient

    access = credentials.resolve(StorageOptions())
    faults = [
        *[(status, "Code") for status in (400, 401, 403, 404, 405, 408, 409, 412, 429, 500, 501, 502, 503, 504)],
        (503, "SlowDown"),
        (404, "NoSuchBucket"),
        (301, "PermanentRedirect"),
        LOST,
        CUT,
    ]
    server.objects["/bucket/k"] = b"0123456789"

    def told(kind, fault) -> tuple[int | None, str, Again]:
        server.first = [fault, fault]  # aiohttp sends once more by itself where a kept connection was closed
        with pytest.raises(StoreError) as caught:
            kind.open(access, "bucket").get("k")
        return caught.value.status, caught.value.code, caught.value.again

    for fault in faults:
        assert told(PlainClient, fault) == told(FastClient, fault)


def test_a_store_that_never_answers_is_given_up(bucket, server, monkeypatch):
    monkeypatch.setattr("cardioclarity.storage.arguments.READ_S", 1)
    monkeypatch.setenv("CARDIOCLARITY_RETRY_S", "0")
    monkeypatch.setenv("AWS_REGION", "fresh")  # for connections with this limit
    server.pause_s = 30.0

    with pytest.raises(StorageError, match=r"does not answer in time; .*\(after 2 tries"):
        bucket.fetch("k")


def test_an_address_from_which_nothing_ever_came_is_given_up_sooner(bucket, impatient, monkeypatch):
    """What it costs to mistype it must not be a minute; a store that was there may well come back."""
    monkeypatch.setattr("cardioclarity.storage.bucket._ANSWERED", set())

    def again() -> Again:
        with pytest.raises(StorageError, match="cannot be reached") as caught:
            bucket.fetch("k")
        return caught.value.__cause__.again

    with scripted_store.running() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        store.shutdown()
        store.socket.close()
        assert again() is Again.BRIEFLY
        with monkeypatch.context() as started:  # by one who knew the address
            started.setattr("multiprocessing.parent_process", lambda: "the driver")
            assert again() is Again.SOON

    with scripted_store.running() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        store.objects["/bucket/pre/fix/k"] = b"1"
        store.more["/bucket/pre/fix/k"] = {"Connection": "close"}
        assert bucket.fetch("k") == b"1"
    assert again() is Again.SOON
