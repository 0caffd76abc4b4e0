"""AWS Signature Version 4: who signed this request, and is it still what they signed?

Shared by Athena's door and the S3 door, which differ in three rules only: what the payload field
is, whether the path is taken as received, and which scope they accept. Pure: the time, the secrets
and the body are handed in. What a refusal looks like on the wire is each door's business. The older
Version 2, which some clients still use for presigned S3 URLs, is in :mod:`.sigv2`.

The algorithm is that of AWS's IAM guide, "Create a signed AWS API request", and of the S3 API
reference, "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

#: S3's limit, in both directions. Athena's own is 5 minutes; machines without NTP drift further.
MAX_SKEW: Final = timedelta(minutes=15)
#: The longest life that AWS allows a presigned URL.
MAX_PRESIGN_S: Final = 7 * 24 * 3600

_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method."
)
#: What stays as it is in a canonical query (RFC 3986, unreserved).
_UNRESERVED: Final = "-_.~"
_BLANKS: Final = re.compile(r"[ \t\n\r\f\v]+")
#: Bounded: without, a header full of beginnings would be searched to its end from each of them.
_CREDENTIAL: Final = re.compile(r"\bCredential=([^/,\s]{1,128})/")


class SignatureError(Exception):
    """The request does not prove who sent it."""


class MissingSignature(SignatureError):
    """Nothing in the request claims an identity."""


class IncompleteSignature(SignatureError):
    """There is a claim, but a part of it is missing or cannot be read."""


class UnknownKey(SignatureError):
    """The access key id is not one of ours."""


class SignatureMismatch(SignatureError):
    """The request is not the one that was signed, or another secret signed it."""


class UnsignedHeaders(SignatureMismatch):
    """The request carries ``x-amz-`` headers that the signature does not cover."""


class SignatureExpired(SignatureError):
    """Signed too long ago, or too far in the future."""


class PresignExpired(SignatureExpired):
    """A presigned URL outside the time it was made for."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What of a request a signature covers, as it came over the wire."""

    method: str
    #: The path before percent-decoding, without the query.
    raw_path: str
    query: str
    #: Names in lower case; values decoded as Latin-1, which keeps every byte.
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Signature:
    """A verified claim."""

    access_key_id: str
    region: str
    service: str
    signed_at: datetime
    signature: str
    #: For the signatures of ``aws-chunked`` chunks. A secret: never logged.
    signing_key: bytes
    #: The payload field: a body's SHA-256 in hex, ``UNSIGNED-PAYLOAD``, or a ``STREAMING-`` form.
    #: For S3 the door still has to hold the body against it.
    payload: str


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the ``Authorization`` header, or a presigned query, says."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: str
    signature: str
    #: As it enters the string to sign: ``20260102T030405Z``.
    timestamp: str
    #: Seconds; None unless presigned.
    expires_s: int | None


@dataclass(frozen=True, slots=True)
class Unproven:
    """A claim that may be true: its key exists, its time and scope are right. The rest needs the
    body, so :meth:`prove` is for once that has come."""

    _request: SignedRequest
    _headers: Mapping[str, str]
    _arguments: Mapping[str, str]
    _claim: _Claim
    _signed_at: datetime
    _secret: str = field(repr=False)

    def prove(self, body: bytes | None = None) -> Signature:
        """The claim, proven; or :class:`SignatureMismatch`.

        Without ``body`` (S3) the payload field is believed here and must be enforced by whoever
        reads the body; with it, or for any service but S3, the field is computed and a wrong one
        refused.
        """
        claim = self._claim
        payload = _payload(claim, self._headers, self._arguments, body)
        key = signing_key(self._secret, claim.date, claim.region, claim.service)
        canonical = _canonical_request(self._request, claim, self._headers, payload)
        expected = _sign(key, _scope(claim), claim.timestamp, canonical)
        if not hmac.compare_digest(expected.encode(), claim.signature.encode("latin-1")):
            raise SignatureMismatch(_MISMATCH)
        return Signature(
            claim.access_key_id,
            claim.region,
            claim.service,
            self._signed_at,
            expected,
            key,
            payload,
        )


def examine(
    request: SignedRequest,
    *,
    secret_of: Callable[[str], str | None],
    now: datetime,
    service: str,
) -> Unproven:
    """What can be said without the body; or a :class:`SignatureError` in words for its sender."""
    headers = combined(request.headers)
    arguments = parameters(request.query) if "X-Amz-" in request.query else {}
    claim = _read(headers, arguments)
    _refuse_temporary(headers, arguments)
    signed_at = _timestamp(claim.timestamp)
    _check_scope(claim, service)
    _check_time(signed_at, claim.expires_s, now)
    secret = secret_of(claim.access_key_id)
    if secret is None:
        raise UnknownKey("The security token included in the request is invalid.")
    return Unproven(request, headers, arguments, claim, signed_at, secret)


def verify(
    request: SignedRequest,
    *,
    secret_of: Callable[[str], str | None],
    now: datetime,
    service: str,
    body: bytes | None = None,
) -> Signature:
    """The claim of ``request``, proven; or a :class:`SignatureError` in words for its sender.

    ``body`` is what :meth:`Unproven.prove` says of it.
    """
    return examine(request, secret_of=secret_of, now=now, service=service).prove(body)


def claimed_key(request: SignedRequest) -> str | None:
    """The access key id that a request names, for whoever looks it up. Nothing is proven by it."""
    for name, value in request.headers:
        if name == "authorization":
            found = _CREDENTIAL.search(value)
            return found and found[1]
    if "X-Amz-Credential" in request.query:
        return parameters(request.query).get("X-Amz-Credential", "").partition("/")[0] or None
    return None


@lru_cache(maxsize=256)  # one entry per (key, day, region) in use; each is 32 bytes
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service: four HMACs that a busy server need not repeat."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def chunk_signature(signature: Signature, previous: str, chunk_sha256: str) -> str:
    """What a chunk of ``STREAMING-AWS4-HMAC-SHA256-PAYLOAD`` must be signed with."""
    return _chained(signature, f"{ALGORITHM}-PAYLOAD", previous, f"{EMPTY_SHA256}\n{chunk_sha256}")


def trailer_signature(signature: Signature, previous: str, trailer: bytes) -> str:
    """What the trailing headers (``name:value\\n`` each) of such a body must be signed with."""
    digest = hashlib.sha256(trailer).hexdigest()
    return _chained(signature, f"{ALGORITHM}-TRAILER", previous, digest)


def _chained(signature: Signature, algorithm: str, previous: str, hashes: str) -> str:
    timestamp = signature.signed_at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{timestamp[:8]}/{signature.region}/{signature.service}/aws4_request"
    text = f"{algorithm}\n{timestamp}\n{scope}\n{previous}\n{hashes}"
    return hmac.digest(signature.signing_key, text.encode("latin-1"), "sha256").hex()


def combined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Each name once; the values of a repeated one joined by commas, blanks squeezed."""
    values: dict[str, str] = {}
    for name, raw in headers:
        value = raw.strip(" \t")
        if "  " in value or "\t" in value:
            value = _BLANKS.sub(" ", value)
        values[name] = f"{values[name]},{value}" if name in values else value
    return values


def parameters(query: str) -> dict[str, str]:
    """The arguments of a query, decoded; of a repeated one the first, as AWS takes it."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        values.setdefault(_decoded(name), _decoded(value))
    return values


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("latin-1")


# --- reading the claim ------------------------------------------------------------------------


def _read(headers: Mapping[str, str], arguments: Mapping[str, str]) -> _Claim:
    authorization = headers.get("authorization")
    if authorization is not None:
        return _read_header(authorization, headers)
    if "X-Amz-Algorithm" in arguments or "X-Amz-Signature" in arguments:
        return _read_query(arguments)
    raise MissingSignature("Missing Authentication Token")


def _read_header(authorization: str, headers: Mapping[str, str]) -> _Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise IncompleteSignature(
            f"Unsupported AWS 'algorithm': only {ALGORITHM} (Signature Version 4) is accepted."
        )
    fields = dict.fromkeys(("Credential", "SignedHeaders", "Signature"), "")
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    missing = [name for name, value in fields.items() if not value]
    if missing:
        raise IncompleteSignature(
            " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        )
    timestamp = _header_timestamp(headers, fields["SignedHeaders"])
    return _claim(fields["Credential"], fields["SignedHeaders"], fields["Signature"], timestamp)


def _read_query(arguments: Mapping[str, str]) -> _Claim:
    if arguments.get("X-Amz-Algorithm") != ALGORITHM:
        raise IncompleteSignature(f"X-Amz-Algorithm only supports {ALGORITHM}.")
    names = ("Credential", "SignedHeaders", "Signature", "Date", "Expires")
    missing = [name for name in names if not arguments.get(f"X-Amz-{name}")]
    if missing:
        raise IncompleteSignature(
            " ".join(f"AWS query-string parameters must include X-Amz-{name}." for name in missing)
        )
    credential, signed, signature, timestamp, expires = (arguments[f"X-Amz-{n}"] for n in names)
    # isdecimal and the length come first: int() would take any amount of any script's digits.
    if not (expires.isdecimal() and len(expires) <= 6 and 1 <= int(expires) <= MAX_PRESIGN_S):
        raise IncompleteSignature(f"X-Amz-Expires must be between 1 and {MAX_PRESIGN_S} seconds.")
    return _claim(credential, signed, signature, timestamp, int(expires))


def _claim(
    credential: str, signed: str, signature: str, timestamp: str, expires_s: int | None = None
) -> _Claim:
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise IncompleteSignature(
            "Credential must have the form <access key id>/YYYYMMDD/<region>/<service>/aws4_request"
        )
    key, date, region, service, _ = parts
    return _Claim(key, date, region, service, signed, signature, timestamp, expires_s)


def _header_timestamp(headers: Mapping[str, str], signed: str) -> str:
    stamp = headers.get("x-amz-date")
    if stamp is not None:  # that it is signed is checked with all x-amz- headers
        return stamp
    names = signed.split(";")
    if "date" not in headers or "date" not in names:
        raise IncompleteSignature(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header, "
            "and its signature."
        )
    date = headers["date"]
    if date.endswith("Z"):
        return date
    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError) as error:
        raise IncompleteSignature("The 'Date' header is neither ISO 8601 nor RFC 5322.") from error


def _timestamp(text: str) -> datetime:
    """``20260102T030405Z`` and nothing else that ``fromisoformat`` would take."""
    if len(text) == 16 and text[8] == "T" and text[15] == "Z" and text[:8].isdecimal():
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise IncompleteSignature(f"Date must be in ISO-8601 'basic format'. Got '{text[:40]}'.")


def _refuse_temporary(headers: Mapping[str, str], arguments: Mapping[str, str]) -> None:
    if headers.get("x-amz-security-token") or arguments.get("X-Amz-Security-Token"):
        raise UnknownKey(
            "The security token included in the request is invalid: temporary credentials "
            "(a session token) are not supported here, use an access key and its secret alone."
        )


# --- the checks -------------------------------------------------------------------------------


def _scope(claim: _Claim) -> str:
    return f"{claim.date}/{claim.region}/{claim.service}/aws4_request"


def _check_scope(claim: _Claim, service: str) -> None:
    if claim.service != service:
        raise SignatureMismatch(f"Credential should be scoped to correct service: '{service}'.")
    if claim.date != claim.timestamp[:8]:
        raise SignatureMismatch(
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{claim.date[:20]}' != '{claim.timestamp[:8]}'."
        )


def _check_time(signed_at: datetime, expires_s: int | None, now: datetime) -> None:
    if expires_s is None:
        if abs(now - signed_at) > MAX_SKEW:
            raise SignatureExpired(
                f"Signature expired: signed at {signed_at:%Y%m%dT%H%M%SZ}, but it is now "
                f"{now:%Y%m%dT%H%M%SZ}, more than 15 minutes apart. Check both clocks."
            )
    elif signed_at - now > MAX_SKEW:
        raise PresignExpired("Request is not valid yet")
    elif now - signed_at > timedelta(seconds=expires_s):
        raise PresignExpired("Request has expired")


def _payload(
    claim: _Claim, headers: Mapping[str, str], arguments: Mapping[str, str], body: bytes | None
) -> str:
    given = headers.get("x-amz-content-sha256")
    if body is None and claim.service == "s3":
        if claim.expires_s is not None:
            return given or arguments.get("X-Amz-Content-Sha256") or UNSIGNED_PAYLOAD
        if given is None:
            raise IncompleteSignature(
                "Missing required header for this request: x-amz-content-sha256"
            )
        return given
    computed = hashlib.sha256(body or b"").hexdigest()
    if given is not None and given != computed:
        raise SignatureMismatch(
            "The value of x-amz-content-sha256 is not the SHA-256 of the body that arrived."
        )
    return computed


# --- the canonical request --------------------------------------------------------------------


def _canonical_request(
    request: SignedRequest, claim: _Claim, headers: Mapping[str, str], payload: str
) -> str:
    path = request.raw_path
    if claim.service != "s3" and path != "/":
        path = _normalised(path)
    signed = claim.signed_headers.split(";")
    lines = _header_lines(headers, signed)
    query = canonical_query(request.query) if request.query else ""
    return f"{request.method}\n{path}\n{query}\n{lines}\n{claim.signed_headers}\n{payload}"


def _header_lines(headers: Mapping[str, str], signed: Sequence[str]) -> str:
    names = frozenset(signed)
    if "host" not in names:
        raise IncompleteSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    if len(names) < len(signed):
        # No client does. A long header, signed thousands of times, would fill the memory.
        raise IncompleteSignature("SignedHeaders names a header more than once.")
    for name in headers:
        # AWS demands the same. Without it a man in the middle could add an x-amz-target.
        if name.startswith("x-amz-") and name not in names:
            raise UnsignedHeaders(
                f"There were headers present in the request which were not signed: {name}"
            )
    try:
        return "".join([f"{name}:{headers[name]}\n" for name in signed])
    except KeyError as error:
        raise SignatureMismatch(
            f"{_MISMATCH} The signed header {error} did not arrive; a proxy may have removed it."
        ) from None


def canonical_query(query: str) -> str:
    """Decoded, encoded again by AWS's rule, and sorted: clients differ in what they escape."""
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name and name != "X-Amz-Signature":
            pairs.append((_encoded(name), _encoded(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ").encode("latin-1")), safe=_UNRESERVED)


def _normalised(path: str) -> str:
    """The rule of every service but S3: no dot segments, no empty ones, and encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    tail = "/" if kept and path.endswith(("/", "/.", "/..")) else ""
    return quote(f"/{'/'.join(kept)}{tail}".encode("latin-1"), safe=f"/{_UNRESERVED}")


def _sign(key: bytes, scope: str, timestamp: str, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode("latin-1"), "sha256").hex()
