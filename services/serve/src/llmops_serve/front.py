"""The ASGI app in front of the routes: ids, keys, limits and overload, and which gateway answers a request."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic_core import from_json, to_json

from llmops_serve.arrival import Arrival, Headers, arrival_of
from llmops_serve.exchange_http import ServerError, relay
from llmops_serve.express import Express
from llmops_serve.gateway import Gateway
from llmops_serve.limits import Key, Keys
from llmops_serve.metrics import Metrics
from llmops_serve.protocol import Protocol
from llmops_serve.relay import SHARED_ROUTES, Plan, plan

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health", "/ping"})
"""Asked by load balancers and by SageMaker, which have no key."""
GENERATING = frozenset({"/", "/generate", "/generate_stream", "/invocations", "/v1/chat/completions", "/v1/completions"})


class BodyError(Exception):
    """The body did not come as it should; its status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Front:
    """One server's front; the gateway behind it may change while it serves."""

    def __init__(
        self, app: App, gateway: Gateway, metrics: Metrics, keys: Keys | None, max_open: int, max_payload_bytes: int, body_timeout_s: float
    ) -> None:
        self.gateway = gateway
        self.keys = keys
        self.is_draining = False
        self.num_asked = 0
        """Requests for answers so far."""
        self._app = app
        self._metrics = metrics
        self._max_open = max_open
        self._max_payload_bytes = max_payload_bytes
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cycle = scope["state"].pop("cycle")  # uvicorn's has the scope: left there, each request would wait for the garbage collector
        path, given = scope["path"], dict(scope["headers"])
        key = None if self.keys is None else self._key(given.get(b"authorization", b""))
        arrival = arrival_of(given, key)
        headers = arrival.headers() if arrival else []
        if self.is_draining:
            headers.append((b"connection", b"close"))
        if arrival is None:
            await refuse(send, 422, "Input validation error: `x-request-id` takes 1 to 200 letters, digits and ._:/+=@-", headers)
        elif self.keys is not None and key is None and path not in OPEN:
            self._metrics.count("llmops_refused", error="key")
            await refuse(send, 401, "an API key is needed: `authorization: Bearer KEY`", [*headers, (b"www-authenticate", b"Bearer")])
        elif self.is_draining and path in OPEN:
            await refuse(send, 503, "unhealthy: the server is ending", headers, "healthcheck")
        elif scope["method"] == "POST" and path in GENERATING:
            await self._generate(scope, receive, send, arrival, headers, cycle.more_body)
        else:
            await self._hand_on(self.gateway, scope, receive, send, arrival, headers)

    def _key(self, given: bytes) -> Key | None:
        """The key that a request's `authorization` names; None without one."""
        assert self.keys is not None
        scheme, _, secret = given.decode("latin-1").partition(" ")
        return self.keys.find(secret.strip()) if scheme.lower() == "bearer" else None

    def take(self, client: Protocol, pairs: Headers, body: bytes) -> bool:
        """Whether a whole request goes the short way; what does not, or is refused, comes again as any other."""
        gateway = self.gateway
        if self.is_draining or gateway.num_open >= self._max_open or len(body) > self._max_payload_bytes:
            return False
        given = dict(pairs)
        key = None if self.keys is None else self._key(given.get(b"authorization", b""))
        if self.keys is not None and (key is None or key.wait_s()):
            return False
        arrival = arrival_of(given, key)
        planned = None if arrival is None else self._planned(gateway, client.path, body, arrival, streams=False)
        if arrival is None or planned is None:
            return False
        if key is not None:
            key.spend()
        self.num_asked += 1
        Express(gateway, planned, client, arrival.headers(), self._explain).begin()
        return True

    def _planned(self, gateway: Gateway, path: str, body: bytes, arrival: Arrival, streams: bool = True) -> Plan | None:
        """How a body is handed on; None when it is not, or when the routes are to say what is wrong with it."""
        try:
            tree = from_json(body, allow_inf_nan=False)
            return plan(gateway, path, tree, arrival) if streams or not asks_for_a_stream(tree) else None
        except ValueError:
            return None

    async def _generate(self, scope: Scope, receive: Receive, send: Send, arrival: Arrival, headers: Headers, is_coming: bool) -> None:
        """Refuses at once what is too much, before anything of it is read; everything else is answered."""
        gateway, key = self.gateway, arrival.caller.key
        self.num_asked += 1
        if gateway.num_open >= self._max_open:
            self._metrics.count("tgi_request_failure", error="overloaded")
            await refuse(send, 429, "Model is overloaded", [*headers, (b"retry-after", b"1")], "overloaded")
            return
        if key is not None and (wait_s := key.admit()):
            self._metrics.count("llmops_refused", error="rate")
            words = f"key {key.settings.name} has used up its requests or tokens of this minute"
            await refuse(send, 429, words, [*headers, (b"retry-after", str(wait_s).encode())], "overloaded")
            return
        gateway.num_open += 1
        try:
            await self._read_and_answer(gateway, scope, receive, send, arrival, headers, is_coming)
        finally:
            gateway.num_open -= 1

    async def _read_and_answer(
        self, gateway: Gateway, scope: Scope, receive: Receive, send: Send, arrival: Arrival, headers: Headers, is_coming: bool
    ) -> None:
        try:
            body = await self._body(is_coming, receive)
        except BodyError as error:
            if error.status:
                await refuse(send, error.status, str(error), [*headers, (b"connection", b"close")], "http")
            return
        path = scope["path"]
        planned = self._planned(gateway, path, body, arrival) if path in SHARED_ROUTES else None
        if planned is None:
            await self._hand_on(gateway, scope, again(body, receive), send, arrival, headers)
            return
        try:
            await relay(gateway, planned, scope["state"]["connection"], send, headers)
        except ServerError as error:
            status, words, error_type, more = self._explain(error, arrival.request_id)
            await refuse(send, status, words, [*headers, *more], error_type)

    def _explain(self, error: ServerError, request_id: str) -> tuple[int, str, str, Headers]:
        """What no server answered, in TGI's shape: status, words, kind of error, and headers."""
        match error.status:
            case 422:
                self._metrics.count("tgi_request_failure", error="validation")
                return 422, f"Input validation error: {error}", "validation", []
            case 429:
                self._metrics.count("tgi_request_failure", error="overloaded")
                return 429, "Model is overloaded", "overloaded", [(b"retry-after", b"1")]
            case _:
                logger.error("request %s failed: %s", request_id, str(error))
                return 424, f"Request failed during generation: {error}", "generation", []

    async def _body(self, is_coming: bool, receive: Receive) -> bytes:
        """The whole body. Raises BodyError when it is too large, too slow, or its client went away."""
        event = await self._next(receive) if is_coming else await receive()
        if event["type"] == "http.disconnect":
            raise BodyError(0, "the client went away")
        if not event.get("more_body"):
            whole: bytes = event["body"]
            self._check(len(whole))
            return whole
        content = bytearray(event["body"])
        while event.get("more_body"):
            event = await self._next(receive)
            content += event["body"]
            self._check(len(content))
        return bytes(content)

    async def _next(self, receive: Receive) -> Event:
        try:
            async with asyncio.timeout(self._body_timeout_s):
                event = await receive()
        except TimeoutError as error:
            raise BodyError(408, f"nothing more of the body came within {self._body_timeout_s:g} s") from error
        if event["type"] == "http.disconnect":
            raise BodyError(0, "the client went away")
        return event

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_payload_bytes:
            raise BodyError(413, f"the body is larger than {self._max_payload_bytes} bytes")

    async def _hand_on(self, gateway: Gateway, scope: Scope, receive: Receive, send: Send, arrival: Arrival, headers: Headers) -> None:
        """To the routes."""
        scope.setdefault("state", {}).update(arrival=arrival, gateway=gateway)

        async def send_with_headers(event: Event) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event.get("headers", []), *headers]
            await send(event)

        await self._app(scope, receive, send_with_headers)


def asks_for_a_stream(tree: Any) -> bool:
    """Whether the answer is to come in pieces."""
    return isinstance(tree, dict) and bool(tree.get("stream"))


def again(body: bytes, receive: Receive) -> Receive:
    """`receive` for someone else: the body that was read, and then what comes."""
    waiting: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Event:
        return waiting.pop() if waiting else await receive()

    return receive_again


async def refuse(send: Send, status: int, words: str, headers: Headers, error_type: str = "validation") -> None:
    """An error in TGI's shape."""
    body = to_json({"error": words, "error_type": error_type})
    content = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*content, *headers]})
    await send({"type": "http.response.body", "body": body})
