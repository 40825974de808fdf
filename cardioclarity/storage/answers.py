"""What a store says when it says no, or that it says nothing: whether to ask again, and one sentence for people."""

import enum
from typing import Final


class Again(enum.Enum):
    """Whether the same request may succeed later."""

    NEVER = "never"
    BRIEFLY = "briefly"
    SOON = "soon"
    SLOWLY = "slowly"


class Silence(enum.StrEnum):
    """Why there was no answer of the store at all, or no whole one."""

    UNREACHABLE = "Unreachable"
    TIMEOUT = "Timeout"
    CUT_SHORT = "CutShort"
    GARBLED = "Garbled"
    NO_TLS = "NoTls"
    UNTRUSTED = "Untrusted"
    NO_CREDENTIALS = "NoCredentials"
    NO_PROFILE = "NoProfile"
    NO_AUTHORITY = "NoAuthority"
    CREDENTIALS_LATER = "CredentialsLater"


class StoreError(OSError):
    """One request failed, whichever library sent it.

    Attributes:
        status: HTTP status; None where there was no answer.
        code: The store's own code, such as ``SlowDown``, or a `Silence`.
        again: Whether the same request may succeed later; who knows more may set it.
        endpoint: Where it was sent; set by who knows it.
        tries: How often it was sent in all.
        seconds: How long that took.
    """

    def __init__(self, status: int | None, code: str) -> None:
        super().__init__(f"{code} ({status})" if status else str(code))
        self.status, self.code = status, code
        self.again = _again(status, code)
        self.endpoint: str | None = None
        self.tries, self.seconds = 1, 0.0

    @property
    def exists(self) -> bool:
        """Tell whether a create was refused because the key is taken."""
        return self.status == 412

    @property
    def is_absent(self) -> bool:
        """Tell whether the object, but not its bucket, is missing."""
        return self.status == 404 and self.code != "NoSuchBucket"

    @property
    def is_expired(self) -> bool:
        """Tell whether fresh credentials would help."""
        return self.code in _EXPIRED

    @property
    def is_unknown(self) -> bool:
        """Tell whether the store may have done what was asked, although it did not say so."""
        return self.status is None or self.status >= 500

    def sentence(self) -> str:
        """Say what went wrong and what to do."""
        said = _CODES.get(self.code) or _STATUSES.get(self.status or 0) or _other(self.status, self.code)
        if self.status is None and self.endpoint:
            said = said.replace("the store", f"the store at {self.endpoint}", 1)
        return f"{said} (after {self.tries} tries in {self.seconds:.0f} s)" if self.tries > 1 else said


_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
_THROTTLED: Final = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"}
_PASSING: Final = {
    Silence.UNREACHABLE,
    Silence.TIMEOUT,
    Silence.CUT_SHORT,
    Silence.GARBLED,
    Silence.CREDENTIALS_LATER,
    "RequestTimeout",
}
# 409 answers a create that meets a delete; 408 a body that came too slowly.
_PASSING_STATUSES: Final = {408, 409, 500, 502, 503, 504}

_EXPIRED_SAID: Final = "the credentials have expired; get fresh ones and run the command again"
_ADDRESS: Final = "the network and the endpoint (AWS_ENDPOINT_URL): host, port, and http or https"
_CODES: Final = {
    **dict.fromkeys(_EXPIRED, _EXPIRED_SAID),
    **dict.fromkeys(_THROTTLED, "the store asks for fewer requests all the time; run the command again later"),
    "NoSuchBucket": "no such bucket; make it first, or correct its name",
    "InvalidAccessKeyId": "the store does not know the access key (403); check AWS_ACCESS_KEY_ID or AWS_PROFILE, and "
    "whether AWS_ENDPOINT_URL names the right store",
    "SignatureDoesNotMatch": "the secret does not fit the access key (403); check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "RequestTimeTooSkewed": "this machine's clock and the store's differ too much (403); set the clock, best by NTP",
    "AuthorizationHeaderMalformed": "the request is signed for another region (400); check AWS_REGION",
    "PermanentRedirect": "the bucket lies in another region; set AWS_REGION to it",
    Silence.UNREACHABLE: f"the store cannot be reached; check {_ADDRESS}",
    Silence.TIMEOUT: f"the store does not answer in time; check {_ADDRESS}",
    Silence.CUT_SHORT: "the answer of the store broke off; check the network, and run the command again",
    Silence.GARBLED: "the store's answer came with wrong bytes; check the network, best by https, and run the command again",
    Silence.NO_TLS: "the store does not speak https; correct the endpoint (AWS_ENDPOINT_URL): http or another port",
    Silence.UNTRUSTED: "the certificate of the store is not trusted; set SSL_CERT_FILE to the file of its authority",
    Silence.NO_CREDENTIALS: "no usable credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or "
    "give --anon for a public bucket",
    Silence.NO_PROFILE: "no such AWS profile; check AWS_PROFILE and the files in ~/.aws",
    Silence.NO_AUTHORITY: "the file of trusted certificates is missing; check AWS_CA_BUNDLE and SSL_CERT_FILE",
    Silence.CREDENTIALS_LATER: "the AWS credentials could not be fetched; check the role or the identity service, and run "
    "the command again",
}
_STATUSES: Final = {
    301: _CODES["PermanentRedirect"],
    307: _CODES["PermanentRedirect"],
    400: "the store refuses the request (400); check AWS_REGION, the credentials, and whether AWS_ENDPOINT_URL must begin "
    "with https",
    401: "the store refuses the credentials (401); check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    403: "the store refuses access (403); check the credentials (AWS_ACCESS_KEY_ID or AWS_PROFILE), their rights on the "
    "bucket, and this machine's clock; a public bucket needs --anon",
    501: "the store does not know this request (501); it must support S3's conditional writes (If-None-Match)",
}


def _again(status: int | None, code: str) -> Again:
    if code in _THROTTLED or status == 429:
        return Again.SLOWLY
    return Again.SOON if code in _PASSING or status in _PASSING_STATUSES else Again.NEVER


def _other(status: int | None, code: str) -> str:
    if status is not None and status >= 500:
        return f"the store answers {status} ({code}); run the command again later"
    return f"the store answers {status} ({code}); check AWS_ENDPOINT_URL and the bucket"
