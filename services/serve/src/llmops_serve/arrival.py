"""A request as it came: its id, its time, and who sent it."""

import re
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmops_serve.limits import Key

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,200}")
Headers = list[tuple[bytes, bytes]]


class Caller(NamedTuple):
    """Who sent it, as far as the headers tell."""

    key: "Key | None" = None
    session: str | None = None
    """`x-session-id`, or SageMaker's `x-amzn-sagemaker-session-id`: requests with the same one stay together."""


NOBODY = Caller()


class Arrival(NamedTuple):
    """A request's id, when it came, and from whom."""

    request_id: str
    arrived: float
    """`time.perf_counter` at arrival."""
    time: datetime
    caller: Caller = NOBODY

    def headers(self) -> Headers:
        """The id, as ours and as AWS's services send it."""
        value = self.request_id.encode()
        return [(b"x-request-id", value), (b"x-amzn-requestid", value)]


def arrival_of(headers: Headers, key: "Key | None") -> Arrival | None:
    """The arrival of a request with these headers; None when the id or the session it brings is none."""
    request_id = session = None
    for name, value in headers:
        if name == b"x-request-id" or (name == b"x-amzn-requestid" and request_id is None):
            request_id = value.decode("latin-1")
        elif name in (b"x-session-id", b"x-amzn-sagemaker-session-id"):
            session = value.decode("latin-1")
    if any(given is not None and REQUEST_ID.fullmatch(given) is None for given in (request_id, session)):
        return None
    return Arrival(request_id or uuid.uuid4().hex, time.perf_counter(), datetime.now(UTC), Caller(key, session))
