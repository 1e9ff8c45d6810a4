"""A request as it came: its id, its time, and who sent it."""

import random
import re
import time
from collections.abc import Mapping
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


def arrival_of(headers: Mapping[bytes, bytes], key: "Key | None") -> Arrival | None:
    """The arrival of a request with these headers; None when the id or the session it brings is none."""
    given_id = headers.get(b"x-request-id") or headers.get(b"x-amzn-requestid")
    given_session = headers.get(b"x-session-id") or headers.get(b"x-amzn-sagemaker-session-id")
    request_id = f"{random.getrandbits(128):032x}" if given_id is None else given_id.decode("latin-1")
    session = None if given_session is None else given_session.decode("latin-1")
    for given in (None if given_id is None else request_id, session):
        if given is not None and REQUEST_ID.fullmatch(given) is None:
            return None
    return Arrival(request_id, time.perf_counter(), datetime.now(UTC), Caller(key, session) if key or session else NOBODY)
