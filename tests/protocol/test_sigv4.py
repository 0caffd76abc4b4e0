"""Botocore's own signers sign; we verify. Then one thing is changed, and we must notice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import process_time
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import (
    HmacV1QueryAuth,
    S3SigV4Auth,
    S3SigV4QueryAuth,
    SigV4Auth,
    SigV4QueryAuth,
)
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sparkowl.protocol import sigv2, sigv4
from sparkowl.protocol.sigv4 import SignedRequest

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "127.0.0.1:8443"


def secret_of(key_id: str) -> str | None:
    return SECRET if key_id == KEY else None


def now() -> datetime:
    return datetime.now(UTC)


def received(request: AWSRequest) -> SignedRequest:
    """What our server would see of a request that botocore prepared."""
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    headers = {name.lower(): text(value) for name, value in prepared.headers.items()}
    headers.setdefault("host", HOST)
    assert prepared.method is not None
    return SignedRequest(prepared.method, parts.path or "/", parts.query, list(headers.items()))


def text(value: str | bytes) -> str:
    return (value if isinstance(value, bytes) else value.encode()).decode("latin-1")


def changed(request: SignedRequest, name: str, value: str | None) -> SignedRequest:
    headers = [(n, v) for n, v in request.headers if n != name]
    if value is not None:
        headers.append((name, value))
    return SignedRequest(request.method, request.raw_path, request.query, headers)


def athena(body: bytes = b"{}", *, path: str = "/", secret: str = SECRET) -> SignedRequest:
    request = AWSRequest(
        "POST",
        f"http://{HOST}{path}",
        data=body,
        headers={
            "X-Amz-Target": "AmazonAthena.GetSession",
            "Content-Type": "application/x-amz-json-1.1",
        },
    )
    SigV4Auth(Credentials(KEY, secret), "athena", "us-east-1").add_auth(request)
    return received(request)


def s3(
    method: str, path: str, query: str = "", headers: dict[str, str] | None = None
) -> SignedRequest:
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=headers or {})
    S3SigV4Auth(Credentials(KEY, SECRET), "s3", "eu-central-1").add_auth(request)
    return received(request)


def verify_athena(request: SignedRequest, body: bytes = b"{}") -> sigv4.Signature:
    return sigv4.verify(request, secret_of=secret_of, now=now(), service="athena", body=body)


def verify_s3(request: SignedRequest, *, later: timedelta = timedelta()) -> sigv4.Signature:
    return sigv4.verify(request, secret_of=secret_of, now=now() + later, service="s3")


# --- what botocore signs is accepted ----------------------------------------------------------


def test_a_call_to_athena_is_accepted_and_described() -> None:
    signature = verify_athena(athena(b'{"SessionId": "x"}'), b'{"SessionId": "x"}')
    assert (signature.access_key_id, signature.region) == (KEY, "us-east-1")
    assert signature.service == "athena"
    assert abs(signature.signed_at - now()) < timedelta(seconds=30)
    assert signature.payload == hashlib.sha256(b'{"SessionId": "x"}').hexdigest()


segments = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(body=st.binary(max_size=50), path=st.lists(segments, max_size=4))
def test_any_body_and_path_of_another_service_is_accepted(body: bytes, path: list[str]) -> None:
    raw = "/" + "/".join(quote(segment, safe="") for segment in path)
    assert verify_athena(athena(body, path=raw), body)


@given(
    path=st.lists(segments, max_size=4),
    query=st.lists(st.tuples(segments.filter(bool), segments), max_size=5),
    extra=st.dictionaries(names.map("x-amz-meta-{}".format), values, max_size=3),
)
def test_any_key_query_and_metadata_of_s3_is_accepted(
    path: list[str], query: list[tuple[str, str]], extra: dict[str, str]
) -> None:
    raw = "/bucket/" + "/".join(quote(segment, safe="~") for segment in path)
    signature = verify_s3(s3("GET", raw, urlencode(query, quote_via=quote, safe="~"), extra))
    assert signature.payload == sigv4.EMPTY_SHA256


@pytest.mark.parametrize("path", ["/b/x//y", "/b/a/./b", "/b/a/../c", "/b//lead", "/b/%2F", "/b/+"])
def test_an_s3_path_is_taken_as_received(path: str) -> None:
    assert verify_s3(s3("GET", path))


@pytest.mark.parametrize("query", ["uploads", "uploads=", "b=2&a=1&a=0", "prefix=&list-type=2"])
def test_a_query_may_have_empty_values_and_any_order(query: str) -> None:
    assert verify_s3(s3("GET", "/bucket", query))


def test_a_plus_and_an_encoded_space_in_a_query_are_the_same() -> None:
    signed = s3("GET", "/bucket", "prefix=a%20b")
    sent = SignedRequest(signed.method, signed.raw_path, "prefix=a+b", signed.headers)
    assert verify_s3(sent)


def test_the_date_header_does_where_there_is_no_x_amz_date() -> None:
    timestamp = now().strftime("%Y%m%dT%H%M%SZ")
    date = format_datetime(datetime.fromisoformat(timestamp), usegmt=True)
    scope = f"{timestamp[:8]}/us-east-1/athena/aws4_request"
    canonical = f"POST\n/\n\ndate:{date}\nhost:{HOST}\n\ndate;host\n{sigv4.EMPTY_SHA256}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signer = SigV4Auth(Credentials(KEY, SECRET), "athena", "us-east-1")
    request = AWSRequest("POST", f"http://{HOST}/")
    request.context["timestamp"] = timestamp
    signature = signer.signature(f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}", request)
    claim = f"Credential={KEY}/{scope},SignedHeaders=date;host,Signature={signature}"
    headers = [("host", HOST), ("date", date), ("authorization", f"AWS4-HMAC-SHA256 {claim}")]
    assert verify_athena(SignedRequest("POST", "/", "", headers), b"")


def test_repeated_headers_and_inner_blanks_are_folded() -> None:
    signed = s3("GET", "/bucket/key", headers={"x-amz-meta-a": "one   two,three"})
    sent = changed(signed, "x-amz-meta-a", None)
    sent = SignedRequest(
        sent.method,
        sent.raw_path,
        sent.query,
        [*sent.headers, ("x-amz-meta-a", " one \ttwo "), ("x-amz-meta-a", "three")],
    )
    assert verify_s3(sent)


@pytest.mark.parametrize(
    "payload",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    ],
)
def test_the_payload_field_of_s3_is_handed_on(payload: str) -> None:
    # Botocore's S3 signer sets the field itself; its parent takes the one that it is given.
    request = AWSRequest(
        "PUT", f"http://{HOST}/bucket/key", headers={"x-amz-content-sha256": payload}
    )
    signer = SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1")
    signer.add_auth(request)
    assert verify_s3(received(request)).payload == payload


# --- presigned --------------------------------------------------------------------------------


def presigned(
    signer: Callable[..., SigV4QueryAuth], service: str, path: str, **headers: str
) -> SignedRequest:
    request = AWSRequest("GET", f"http://{HOST}{path}", headers=headers)
    signer(Credentials(KEY, SECRET), service, "us-east-1", expires=60).add_auth(request)
    return received(request)


def test_a_presigned_url_is_accepted_until_it_expires() -> None:
    request = presigned(S3SigV4QueryAuth, "s3", "/bucket/a%20key?versionId=7")
    assert verify_s3(request).payload == "UNSIGNED-PAYLOAD"
    assert verify_s3(request, later=timedelta(seconds=55))
    with pytest.raises(sigv4.PresignExpired, match="has expired"):
        verify_s3(request, later=timedelta(seconds=61))
    with pytest.raises(sigv4.PresignExpired, match="not valid yet"):
        verify_s3(request, later=-timedelta(minutes=16))


def test_a_presigned_url_of_another_service_covers_the_empty_body() -> None:
    assert verify_athena(presigned(SigV4QueryAuth, "athena", "/"), b"")


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "1e3", "²", "99999999999"])
def test_a_presigned_url_lives_a_week_at_most(expires: str) -> None:
    signed = presigned(S3SigV4QueryAuth, "s3", "/bucket/key")
    query = signed.query.replace("X-Amz-Expires=60", f"X-Amz-Expires={quote(expires)}")
    with pytest.raises(sigv4.IncompleteSignature, match="X-Amz-Expires"):
        verify_s3(SignedRequest("GET", signed.raw_path, query, signed.headers))


def test_a_presigned_url_cannot_be_given_further_arguments() -> None:
    signed = presigned(S3SigV4QueryAuth, "s3", "/bucket/key")
    for query in (f"{signed.query}&uploads", f"uploads&{signed.query}"):
        with pytest.raises(sigv4.SignatureMismatch):
            verify_s3(SignedRequest("GET", signed.raw_path, query, signed.headers))


def test_a_presigned_query_without_all_its_parts_names_them() -> None:
    query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0"
    with pytest.raises(sigv4.IncompleteSignature, match="X-Amz-Credential"):
        verify_s3(SignedRequest("GET", "/b/k", query, [("host", HOST)]))


# --- what is changed on the way is refused ----------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda r: SignedRequest("PUT", r.raw_path, r.query, r.headers),
        lambda r: SignedRequest(r.method, r.raw_path + "2", r.query, r.headers),
        lambda r: SignedRequest(r.method, r.raw_path, r.query + "&prefix=b", r.headers),
        lambda r: changed(r, "host", "elsewhere"),
        lambda r: changed(r, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        lambda r: changed(r, "x-amz-meta-a", "other"),
        lambda r: changed(r, "x-amz-meta-a", None),
        lambda r: changed(r, "x-amz-acl", "public-read"),
    ],
)
def test_tampering_is_noticed(change: Callable[[SignedRequest], SignedRequest]) -> None:
    request = s3("GET", "/bucket/key", "prefix=a", {"x-amz-meta-a": "b"})
    assert verify_s3(request)
    with pytest.raises(sigv4.SignatureMismatch):
        verify_s3(change(request))


def test_another_body_is_noticed() -> None:
    with pytest.raises(sigv4.SignatureMismatch):
        verify_athena(athena(b"{}"), b"{ }")


def test_another_body_is_noticed_when_its_hash_came_in_a_header() -> None:
    digest = hashlib.sha256(b"{}").hexdigest()
    request = AWSRequest(
        "POST", f"http://{HOST}/", data=b"{}", headers={"x-amz-content-sha256": digest}
    )
    SigV4Auth(Credentials(KEY, SECRET), "athena", "us-east-1").add_auth(request)
    assert verify_athena(received(request), b"{}")
    with pytest.raises(sigv4.SignatureMismatch, match="x-amz-content-sha256"):
        verify_athena(received(request), b"{ }")


def test_athena_takes_no_unsigned_payload() -> None:
    request = AWSRequest(
        "POST", f"http://{HOST}/", headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    )
    SigV4Auth(Credentials(KEY, SECRET), "athena", "us-east-1").add_auth(request)
    with pytest.raises(sigv4.SignatureMismatch):
        verify_athena(received(request), b"")


def test_another_secret_is_noticed() -> None:
    with pytest.raises(sigv4.SignatureMismatch, match="does not match the signature"):
        verify_athena(athena(secret="another"))


def test_an_added_header_is_named() -> None:
    with pytest.raises(sigv4.UnsignedHeaders, match="x-amz-copy-source"):
        verify_s3(changed(s3("PUT", "/bucket/key"), "x-amz-copy-source", "/bucket/other"))


def test_an_unknown_key_is_said_to_be_unknown() -> None:
    signed = athena()
    claim = dict(signed.headers)["authorization"].replace(KEY, "AKIDOTHER")
    with pytest.raises(sigv4.UnknownKey, match="token included in the request is invalid"):
        verify_athena(changed(signed, "authorization", claim))


def test_temporary_credentials_are_refused_in_clear_words() -> None:
    request = AWSRequest("POST", f"http://{HOST}/", data=b"{}")
    SigV4Auth(Credentials(KEY, SECRET, "token"), "athena", "us-east-1").add_auth(request)
    with pytest.raises(sigv4.UnknownKey, match="temporary credentials"):
        verify_athena(received(request))


def test_the_scope_must_name_the_service() -> None:
    with pytest.raises(sigv4.SignatureMismatch, match="correct service: 's3'"):
        verify_s3(athena())


@pytest.mark.parametrize("minutes", [-16, 16])
def test_clocks_may_differ_by_a_quarter_of_an_hour(minutes: int) -> None:
    request = s3("GET", "/bucket")
    assert verify_s3(request, later=timedelta(minutes=14 if minutes > 0 else -14))
    with pytest.raises(sigv4.SignatureExpired, match="15 minutes"):
        verify_s3(request, later=timedelta(minutes=minutes))


# --- claims that cannot be read ---------------------------------------------------------------


def test_no_claim_is_a_missing_signature() -> None:
    with pytest.raises(sigv4.MissingSignature, match="Missing Authentication Token"):
        verify_athena(SignedRequest("POST", "/", "", [("host", HOST)]))


SCOPE = "20260102/us-east-1/athena/aws4_request"


@pytest.mark.parametrize(
    ("authorization", "said"),
    [
        ("", "algorithm"),
        ("Bearer abc", "algorithm"),
        ("AWS AKID:c2ln", "algorithm"),
        ("AWS4-HMAC-SHA256", "'Credential' parameter"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE}, Signature=0", "'SignedHeaders'"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}, SignedHeaders=host, Signature=0", "Credential"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE}, SignedHeaders=a, Signature=0", "'Host'"),
    ],
)
def test_an_unreadable_claim_says_what_is_wrong(authorization: str, said: str) -> None:
    headers = [("host", HOST), ("x-amz-date", "20260102T030405Z"), ("authorization", authorization)]
    with pytest.raises(sigv4.IncompleteSignature, match=said):
        sigv4.verify(
            SignedRequest("POST", "/", "", headers),
            secret_of=secret_of,
            now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            service="athena",
            body=b"",
        )


@pytest.mark.parametrize(
    "stamp", ["", "yesterday", "2026-01-02T03:04:05Z", "20261302T030405Z", "2026-W01T030405Z"]
)
def test_an_unreadable_date_is_incomplete(stamp: str) -> None:
    with pytest.raises(sigv4.IncompleteSignature):
        verify_athena(changed(athena(), "x-amz-date", stamp))


def test_s3_demands_the_payload_field() -> None:
    with pytest.raises(sigv4.IncompleteSignature, match="x-amz-content-sha256"):
        verify_s3(changed(s3("GET", "/bucket"), "x-amz-content-sha256", None))


latin = st.text(st.characters(max_codepoint=255), max_size=60)


@given(path=latin, query=latin, headers=st.lists(st.tuples(latin, latin), max_size=4), claim=latin)
def test_anything_else_is_a_signature_error(
    path: str, query: str, headers: list[tuple[str, str]], claim: str
) -> None:
    for prefix in ("", "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, "):
        request = SignedRequest("GET", path, query, [*headers, ("authorization", prefix + claim)])
        with pytest.raises(sigv4.SignatureError):
            verify_s3(request)


@given(query=latin)
def test_any_other_presigned_query_is_a_signature_error(query: str) -> None:
    four = "X-Amz-Algorithm=AWS4-HMAC-SHA256&"
    with pytest.raises(sigv4.SignatureError):
        verify_s3(SignedRequest("GET", "/b", four + query, []))
    with pytest.raises(sigv4.SignatureError):
        verify_v2(SignedRequest("GET", "/b", f"AWSAccessKeyId={KEY}&Signature=a&{query}", []))


# --- chunks -----------------------------------------------------------------------------------


def test_chunk_signatures_are_those_of_the_documentation() -> None:
    # The worked example of AWS's page on chunked uploads: 65 KiB of "a", in 64 KiB and 1 KiB.
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    signed_at = datetime(2013, 5, 24, tzinfo=UTC)
    key = sigv4.signing_key(secret, "20130524", "us-east-1", "s3")
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signature = sigv4.Signature("AKID", "us-east-1", "s3", signed_at, seed, key, "")
    expected = [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]
    previous = seed
    for size, wanted in zip((65536, 1024, 0), expected, strict=True):
        digest = hashlib.sha256(b"a" * size).hexdigest()
        previous = sigv4.chunk_signature(signature, previous, digest)
        assert previous == wanted


# --- the key that a request names -------------------------------------------------------------


def test_the_named_key_is_the_one_that_is_verified() -> None:
    presigned = AWSRequest("GET", f"http://{HOST}/b/k")
    S3SigV4QueryAuth(Credentials(KEY, SECRET), "s3", "us-east-1", expires=60).add_auth(presigned)

    for request in (athena(), s3("GET", "/b/k"), received(presigned)):
        assert sigv4.claimed_key(request) == KEY
    assert sigv2.claimed_key(presigned_v2("GET", "/b/k").query) == KEY


def test_a_request_that_names_two_keys_is_never_verified_for_the_one_not_looked_up() -> None:
    """Doors look up the key that is named first, and have the secret of no other."""
    signed = athena()
    named = dict(signed.headers)["authorization"]
    other = named.replace(KEY, "AKIAOTHER")
    rest = [header for header in signed.headers if header[0] != "authorization"]
    for pair in ([other, named], [named, other], [f"x Credential=AKIAOTHER/x,{named}"]):
        headers = [*(("authorization", value) for value in pair), *rest]
        request = SignedRequest(signed.method, signed.raw_path, signed.query, headers)
        claimed = sigv4.claimed_key(request)
        with suppress(sigv4.SignatureError):
            verified = sigv4.verify(
                request,
                secret_of={claimed: SECRET}.get,
                now=now(),
                service="athena",
                body=b"{}",
            )
            assert verified.access_key_id == claimed


@given(st.binary(), st.binary())
def test_whatever_comes_names_a_key_or_none(header: bytes, query: bytes) -> None:
    headers = [("authorization", header.decode("latin-1"))]
    asked = f"X-Amz-Credential={query.decode('latin-1')}"

    for given_headers in (headers, []):
        request = SignedRequest("GET", "/", asked, given_headers)
        assert isinstance(sigv4.claimed_key(request), str | None)
    assert isinstance(sigv2.claimed_key(asked.replace("X-Amz-Credential", "AWSAccessKeyId")), str)


# --- version 2 --------------------------------------------------------------------------------


def presigned_v2(method: str, url: str, **headers: str) -> SignedRequest:
    request = AWSRequest(method, f"http://{HOST}{url}", headers=headers)
    HmacV1QueryAuth(Credentials(KEY, SECRET), expires=60).add_auth(request)
    signed = received(request)
    return SignedRequest(signed.method, signed.raw_path, signed.query, [("host", HOST)])


def verify_v2(request: SignedRequest, *, later: timedelta = timedelta()) -> sigv4.Signature:
    assert sigv2.claimed(request.query)
    return sigv2.verify(request, secret_of=secret_of, now=now() + later)


@pytest.mark.parametrize(
    "url",
    ["/b/k", "/b/a%20b/%C3%BC", "/b/k?uploadId=a%2Fb&partNumber=2", "/b/k?uploads", "/b?prefix=x"],
)
def test_a_version_2_url_is_accepted_until_it_expires(url: str) -> None:
    request = presigned_v2("PUT", url, **{"Content-Type": "text/x", "x-amz-meta-a": "b"})
    assert verify_v2(request).access_key_id == KEY
    with pytest.raises(sigv4.PresignExpired):
        verify_v2(request, later=timedelta(seconds=62))


@pytest.mark.parametrize(
    "added", ["&uploads", "&%75ploads", "&x-amz-copy-source=b/o", "&X-Amz-Copy-Source=b/o"]
)
def test_a_version_2_url_cannot_be_turned_into_another_operation(added: str) -> None:
    signed = presigned_v2("PUT", "/b/k")
    with pytest.raises(sigv4.SignatureMismatch):
        verify_v2(SignedRequest("PUT", signed.raw_path, signed.query + added, signed.headers))
    with pytest.raises(sigv4.SignatureMismatch):
        verify_v2(SignedRequest("GET", signed.raw_path, signed.query, signed.headers))
    with pytest.raises(sigv4.SignatureMismatch):
        verify_v2(changed(signed, "x-amz-acl", "public-read"))


def test_a_version_2_url_of_an_unknown_key_is_refused() -> None:
    signed = presigned_v2("GET", "/b/k")
    query = signed.query.replace(KEY, "OTHER")
    with pytest.raises(sigv4.UnknownKey):
        verify_v2(SignedRequest("GET", signed.raw_path, query, signed.headers))


@pytest.mark.parametrize("expires", ["", "soon", "²", "1" * 13])
def test_a_version_2_url_needs_its_expiry(expires: str) -> None:
    query = f"AWSAccessKeyId={KEY}&Signature=a&Expires={quote(expires)}"
    with pytest.raises(sigv4.IncompleteSignature):
        verify_v2(SignedRequest("GET", "/b/k", query, []))


def test_a_header_that_begins_again_and_again_holds_nobody_up() -> None:
    header = "Credential=" * 5_900
    began = process_time()

    assert sigv4.claimed_key(SignedRequest("POST", "/", "", [("authorization", header)])) is None

    # A server answers nobody else meanwhile. It took six seconds once, and takes some milliseconds.
    assert process_time() - began < 1


def test_a_header_counts_once_however_often_it_is_named() -> None:
    """64 KiB of head would else become half a gigabyte, for anybody who knows a key's id."""
    signed = athena()
    headers = dict(signed.headers)
    headers["authorization"] = headers["authorization"].replace(
        "SignedHeaders=", "SignedHeaders=" + "x;" * 15_000
    )
    headers["x"] = "x" * 30_000
    request = SignedRequest(signed.method, signed.raw_path, signed.query, list(headers.items()))

    with pytest.raises(sigv4.IncompleteSignature, match="more than once"):
        sigv4.verify(request, secret_of={KEY: SECRET}.get, now=now(), service="athena", body=b"{}")
