"""A recording of traffic: when requests came and how long prompts and answers were. Prompts of those lengths are made up."""

import csv
import gzip
import io
import json
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from llmops_serve.client import Request
from llmops_serve.config import ReplayConfig
from llmops_shared.contracts.exchange import Message
from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
SENTENCE = "the time of the first answer is what people wait for and the length of a prompt is what it costs"
SAMPLE = 400
"""Words whose tokens are counted, to learn how many words make a token."""


class Came(NamedTuple):
    """One request of the recording."""

    after_s: float
    """Since the first one that is replayed."""
    num_prompt_tokens: int
    num_answer_tokens: int


class Window(NamedTuple):
    """What the server takes."""

    max_input_tokens: int
    max_total_tokens: int


class Made(NamedTuple):
    """Requests, and when each is due."""

    requests: list[Request]
    due_s: list[float]
    num_cut: int
    """Requests that were longer than the server takes."""


def read_traffic(config: ReplayConfig) -> list[Came]:
    """The rows of the recording. Raises LlmopsError when it has other columns, or none that are wanted."""
    place = str(config.traffic)
    content = store_for(place).read(place)
    rows = csv.DictReader(io.StringIO((gzip.decompress(content) if place.endswith(".gz") else content).decode("utf-8-sig")))
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise LlmopsError(f"{place}: lacks the column {missing[0]} (has {', '.join(rows.fieldnames or ())})")
    wanted = list(islice(enumerate(rows, 2), config.traffic_skip, config.traffic_skip + config.traffic_limit))
    if not wanted:
        raise LlmopsError(f"{place}: has no more than {config.traffic_skip} requests; lower traffic_skip")
    try:
        found = []
        for number, row in wanted:  # noqa: B007 - named in the error
            # Azure writes seven digits of a second; Python reads six
            time = datetime.fromisoformat(row["TIMESTAMP"].rstrip("Z")[:26])
            found.append((time, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    except (ValueError, TypeError, AttributeError) as error:
        raise LlmopsError(f"{place}, line {number}: {error}") from error
    found.sort()
    return [Came((time - found[0][0]).total_seconds(), num_prompt, num_answer) for time, num_prompt, num_answer in found]


def make(name: str, came: Sequence[Came], speed: float, url: str) -> Made:
    """The requests of a recording for a server: as long as they were, at most as long as it takes."""
    window = window_of(url)
    words_per_token = SAMPLE / num_tokens_of(url, text_of(SAMPLE))
    requests, num_cut = list[Request](), 0
    for number, one in enumerate(came):
        num_answer = max(1, min(one.num_answer_tokens, window.max_total_tokens // 2))
        num_prompt = max(1, min(one.num_prompt_tokens, window.max_input_tokens, window.max_total_tokens - num_answer))
        num_cut += (num_prompt, num_answer) != (max(1, one.num_prompt_tokens), max(1, one.num_answer_tokens))
        # the chat template takes some tokens as well, which matter for short prompts alone
        content = text_of(max(1, int(num_prompt * words_per_token * (0.95 if num_prompt > 40 else 0.5))))
        message = Message(role="user", content=f"{number} {content}")
        requests.append(Request(f"{name}-{number}", name, str(number), [message], "", num_answer, retrieval=False))
    return Made(requests, [one.after_s / speed for one in came], num_cut)


def text_of(num_words: int) -> str:
    """So many words."""
    words = SENTENCE.split()
    return " ".join(words[number % len(words)] for number in range(num_words))


def window_of(url: str) -> Window:
    """The server's limits, as TGI's `/info` tells them."""
    info = asked(f"{url}/info")
    try:
        return Window(info["max_input_tokens"], info["max_total_tokens"])
    except (KeyError, TypeError) as error:
        raise LlmopsError(f"{url}/info: does not say max_input_tokens and max_total_tokens, as TGI and llmops-serve do") from error


def num_tokens_of(url: str, text: str) -> int:
    """Tokens of a text, as the server counts them."""
    return max(1, len(asked(f"{url}/tokenize", {"inputs": text, "add_special_tokens": False})))


def asked(url: str, body: dict[str, object] | None = None) -> "dict[str, int]":
    """The JSON answer. Raises LlmopsError when there is none."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            found: dict[str, int] = json.loads(response.read())
            return found
    except (OSError, ValueError) as error:
        raise LlmopsError(f"{url}: did not answer as TGI and llmops-serve do ({error}); a replay of traffic needs it") from error
