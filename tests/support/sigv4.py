"""Checks the signature of a request as AWS would: with the secret, anew, from what arrived."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit

ACCESS_KEY, SECRET_KEY = "AKIDTESTING", "secret-for-tests"


def signature_problem(method: str, target: str, headers: Mapping[str, str], body: bytes, service: str, region: str) -> str | None:
    """What is wrong with the Authorization header of a request; None when it is right."""
    given = {name.lower(): value for name, value in headers.items()}
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)",
        given.get("authorization", ""),
    )
    if found is None:
        return "no signature of version 4"
    key, day, at, what, signed, signature = found.groups()
    if (key, at, what) != (ACCESS_KEY, region, service):
        return f"signed by {key} for {what} in {at}, expected {service} in {region}"
    digest = hashlib.sha256(body).hexdigest()
    if given.get("x-amz-content-sha256", digest) != digest:
        return "the digest in x-amz-content-sha256 is not the body's"
    if "host" not in signed.split(";") or "x-amz-date" not in signed.split(";"):
        return f"host and date are not signed, only {signed}"
    parts = urlsplit(target)
    canonical_headers = "".join(f"{name}:{' '.join(given[name].split())}\n" for name in signed.split(";"))
    canonical = "\n".join([method, parts.path or "/", canonical_query(parts.query), canonical_headers, signed, digest])
    right = sign(canonical, given["x-amz-date"], day, region, service)
    return None if hmac.compare_digest(right, signature) else "the signature does not match"


def token_problem(token: str, host: str, user: str, region: str) -> str | None:
    """What is wrong with the password that stands for a role at RDS, a presigned URL without its scheme; None when it is right."""
    parts = urlsplit(f"https://{token}")
    query = dict(parse_qsl(parts.query))
    signature = query.pop("X-Amz-Signature", "")
    if parts.netloc != host or query.get("Action") != "connect" or query.get("DBUser") != user:
        return f"a token for {query.get('DBUser')} at {parts.netloc}, expected {user} at {host}"
    if query["X-Amz-Credential"].split("/")[2:4] != [region, "rds-db"] or int(query["X-Amz-Expires"]) > 900:
        return f"signed for {query['X-Amz-Credential']}"
    listed = "&".join(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in sorted(query.items()))
    canonical = "\n".join(["GET", "/", listed, f"host:{host}\n", "host", hashlib.sha256(b"").hexdigest()])
    day = query["X-Amz-Date"][:8]
    return None if sign(canonical, query["X-Amz-Date"], day, region, "rds-db") == signature else "the signature does not match"


def canonical_query(query: str) -> str:
    """Sorted, and escaped as the signature wants it."""
    pairs = sorted((quote(key, safe="-_.~"), quote(value, safe="-_.~")) for key, value in parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{key}={value}" for key, value in pairs)


def sign(canonical: str, date: str, day: str, region: str, service: str) -> str:
    """The signature of a canonical request."""
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", date, f"{day}/{region}/{service}/aws4_request", hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = b"AWS4" + SECRET_KEY.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
