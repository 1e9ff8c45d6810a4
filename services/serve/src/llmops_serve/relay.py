"""Requests handed on to a variant's server as they are: OpenAI's routes, which it has as well.

Only what needs nothing else is: no retrieval, no doubt about limits or content. Everything else is taken apart and put together again
in `gateway.py`, which gives the same answers more slowly.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from llmops_serve.arms import prompted
from llmops_serve.arrival import Arrival
from llmops_serve.engines.engine import Sampling
from llmops_serve.gateway import Gateway
from llmops_serve.job import Ask, Served
from llmops_serve.turn import Turn
from llmops_shared.contracts.endpoint import Arm
from llmops_shared.contracts.exchange import Message

SHARED_ROUTES = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
OURS = ("retrieval", "metadata", "user")
PLAIN = frozenset({"role", "content"})
"""Fields of a message that is nothing but text; others say nothing where they are null, as in an answer that a client sends back."""
BYTES_PER_TOKEN = 8  # fewer tokens than that no text has; what might have too many is counted exactly elsewhere
SAMPLING = Sampling(max_new_tokens=1)  # the server reads the options itself


class Plan(NamedTuple):
    """A request that is handed on."""

    ask: Ask
    sticky: str
    arm: Arm | None
    served: Served
    route: str
    body: bytes
    streams: bool
    hides_usage: bool
    """Whether the usage at the end of the stream is for us alone."""


def plan(gateway: Gateway, route: str, tree: Any, arrival: Arrival) -> Plan | None:
    """How a request is handed on; None when it is not."""
    if not isinstance(tree, dict) or tree.get("retrieval"):
        return None
    messages = messages_of(route, tree)
    metadata, user, model = tree.get("metadata") or {}, tree.get("user"), tree.get("model")
    if messages is None or not (is_text(metadata) and is_text_or_none(user) and is_text_or_none(model)):
        return None
    is_chat = route == "/v1/chat/completions"
    ask = Ask(
        arrival.request_id, route, arrival.arrived, arrival.time, messages, is_chat, SAMPLING, None, None,
        metadata=metadata, caller=arrival.caller, user=user,
    )  # fmt: skip
    sticky = ask.sticky
    arm, served = gateway.route(sticky)
    if not (served.is_relayed and (gateway.shadow is None or gateway.shadow.is_relayed) and fits(tree, served, messages)):
        return None
    guard, allowed = gateway.guard, messages
    if guard is not None:
        limit = guard.config.max_prompt_tokens
        if guard.reads_answers or guard.is_remote:
            return None
        verdict = guard.look(messages)
        if verdict.reason is not None:
            return None
        allowed = verdict.messages
        if limit is not None and sum(len(message.content) for message in messages) > limit * BYTES_PER_TOKEN // 4:
            return None
    is_adapter = model in served.adapters
    if not (is_adapter or model is None or model == gateway.endpoint.name):
        return None
    sent = {key: value for key, value in tree.items() if key not in OURS and (is_adapter or key != "model")}
    said = prompted(arm, allowed) if is_chat else allowed
    if said is not messages or (is_chat and any(len(item) > len(PLAIN) for item in tree["messages"])):
        sent |= {"messages": [message.model_dump() for message in said]} if is_chat else {"prompt": said[0].content}
    streams, options = bool(tree.get("stream")), tree.get("stream_options")
    hides_usage = streams and not (isinstance(options, dict) and options.get("include_usage"))
    if streams:
        sent["stream_options"] = {"include_usage": True}
    return Plan(ask, sticky, arm, served, route, to_json(sent), streams, hides_usage)


def messages_of(route: str, tree: dict[str, Any]) -> list[Message] | None:
    """The conversation for the record; None for one that is more than text."""
    given = tree.get(SHARED_ROUTES[route])
    try:
        if route == "/v1/completions":
            return [Message(role="user", content=given)] if isinstance(given, str) and given else None
        if not isinstance(given, list) or not given:
            return None
        found = []
        for item in given:
            if not isinstance(item, dict) or not (item.keys() <= PLAIN or says_no_more(item)):
                return None
            found.append(Message(role=item.get("role"), content=item.get("content")))
        return found
    except ValidationError:
        return None


def says_no_more(item: dict[str, Any]) -> bool:
    """Whether a message has nothing but its text: everything else is null or an empty list."""
    return all(value is None or value == [] for name, value in item.items() if name not in PLAIN)


def is_text(metadata: Any) -> bool:
    """Whether it is a mapping of texts to texts."""
    return isinstance(metadata, dict) and all(isinstance(key, str) and isinstance(value, str) for key, value in metadata.items())


def is_text_or_none(value: Any) -> bool:
    """Whether it is a text, or not given."""
    return value is None or isinstance(value, str)


def fits(tree: dict[str, Any], served: Served, messages: list[Message]) -> bool:
    """Whether a request is surely within the limits of a variant; where it is not, it is looked at more closely elsewhere."""
    limits, stop = served.limits, tree.get("stop")
    if isinstance(stop, list) and len(stop) > limits.max_stop_sequences:
        return False
    for name in ("n", "best_of"):
        number = tree.get(name)
        if number is not None and (not isinstance(number, int) or not 1 <= number <= limits.max_client_batch_size):
            return False
    longest = tree.get("max_completion_tokens") or tree.get("max_tokens") or 1
    if not isinstance(longest, int) or longest < 1:
        return False
    length = 0
    for message in messages:
        length += len(message.content)
    return length // BYTES_PER_TOKEN + longest <= limits.max_total_tokens


class Whole(NamedTuple):
    """What a whole answer says."""

    text: str
    finish: str
    num_prompt_tokens: int
    num_tokens: int


def read_whole(body: bytes) -> Whole:
    """The first choice of an answer, and its tokens. Raises ValueError when it is no OpenAI answer."""
    tree = from_json(body)
    try:
        choice, usage = tree["choices"][0], tree.get("usage") or {}
        text = choice["message"].get("content") if "message" in choice else choice["text"]
        return Whole(
            text or "", choice.get("finish_reason") or "stop", usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("is no answer of OpenAI's API") from error


def settle(turn: Turn, whole: Whole) -> None:
    """The answer is there."""
    turn.text, turn.num_prompt_tokens, turn.num_tokens = whole.text, whole.num_prompt_tokens, whole.num_tokens
    turn.end("length" if whole.finish == "length" else "stop")


def read_event(turn: Turn, event: bytes) -> bool:
    """Takes what an event of a stream says; whether it is the usage, which has no choice."""
    _, _, payload = event.partition(b"data:")
    payload = payload.strip()
    if not payload or payload == b"[DONE]":
        return False
    tree = from_json(payload)
    if not isinstance(tree, dict):
        raise ValueError("is no event of OpenAI's API")
    if "error" in tree:
        error = tree["error"]
        turn.error = str(error.get("message", error) if isinstance(error, dict) else error)
        return False
    if usage := tree.get("usage"):
        turn.num_prompt_tokens, turn.num_tokens = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or turn.num_tokens
    choices = tree.get("choices")
    if not choices:
        return usage is not None
    for choice in choices:
        if choice.get("index"):
            continue  # of several answers the first is recorded
        text = choice["delta"].get("content") if "delta" in choice else choice.get("text")
        if text:
            turn.begin()
            turn.text += text
            turn.num_tokens += not usage
        if choice.get("finish_reason"):
            turn.end("length" if choice["finish_reason"] == "length" else "stop")
    return False


def copy_later(gateway: Gateway, planned: Plan, ask_server: Callable[..., Any]) -> None:
    """A copy for the shadow, to be asked off the response path."""
    if gateway.shadow is not None and gateway.copies.has_room():
        gateway.copies.put(partial(ask_server, gateway, planned._replace(served=gateway.shadow)))


def whole_body(planned: Plan) -> bytes:
    """The body of a copy: the answer at once, for nobody reads it as it comes."""
    if not planned.streams:
        return planned.body
    tree = from_json(planned.body)
    tree.pop("stream_options", None)
    return to_json({**tree, "stream": False})
