"""API keys: who may ask, and how much a minute."""

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from llmops_shared.config import Config
from llmops_shared.errors import LlmopsError
from llmops_shared.store import store_for

SHORTEST_KEY = 32
"""Characters; `llmops-serve key` makes 47, with 256 random bits."""
DIGEST = r"^[0-9a-f]{64}$"


class KeySettings(Config):
    """One key. The file holds its digest, never the key."""

    name: str = Field(min_length=1)
    """Who has it; appears in the log and in figures."""
    sha256: str = Field(pattern=DIGEST)
    """SHA-256 of the key, in hexadecimal."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests, of which as many may come at once; None: any number."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Tokens of prompts and answers; None: any number."""


class Bucket:
    """So much a minute, and at most that much at once; what was spent beyond it is waited for."""

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._per_second, self._most = per_minute / 60, per_minute
        self._clock = clock
        self._level, self._time = per_minute, clock()

    def wait_s(self, amount: float) -> float:
        """Seconds until that much may be spent; 0: now."""
        now = self._clock()
        level = self._level + (now - self._time) * self._per_second
        self._level = level = level if level < self._most else self._most
        self._time = now
        return 0.0 if amount <= level else (amount - level) / self._per_second

    def spend(self, amount: float) -> None:
        """Takes that much."""
        self._level -= amount


class Key:
    """A key and what it has left."""

    def __init__(self, settings: KeySettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._requests = Bucket(settings.requests_per_minute, clock) if settings.requests_per_minute else None
        self._tokens = Bucket(settings.tokens_per_minute, clock) if settings.tokens_per_minute else None

    def wait_s(self) -> int:
        """Seconds after which it may be asked again; 0: now."""
        wait_s = self._requests.wait_s(1) if self._requests else 0.0
        if self._tokens:
            wait_s = max(wait_s, self._tokens.wait_s(1))
        return math.ceil(wait_s)

    def spend(self) -> None:
        """Counts a request."""
        if self._requests:
            self._requests.spend(1)

    def admit(self) -> int:
        """Counts a request that may be asked; 0, or the seconds after which it may."""
        wait_s = self.wait_s()
        if not wait_s:
            self.spend()
        return wait_s

    def charge(self, num_tokens: int) -> None:
        """Counts the tokens of an answer; known only afterwards, so one answer may go beyond and the next requests wait for it."""
        if self._tokens:
            self._tokens.wait_s(0)
            self._tokens.spend(num_tokens)


class Keys:
    """All keys of a server."""

    def __init__(self, settings: list[KeySettings], clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = {one.sha256: Key(one, clock) for one in settings}

    def settings(self) -> list[KeySettings]:
        """What the file says."""
        return [key.settings for key in self._keys.values()]

    def find(self, secret: str) -> Key | None:
        """The key with this secret. A short one is none, whatever the file says: it could be guessed."""
        if len(secret) < SHORTEST_KEY:
            return None
        return self._keys.get(digest_of_key(secret))


def digest_of_key(secret: str) -> str:
    """What the file holds of a key; a key is random, so that a plain digest gives nothing away."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_key() -> str:
    """A key that cannot be guessed."""
    return f"llm-{secrets.token_urlsafe(32)}"


def read_keys(uri: str) -> Keys:
    """The keys of a file: a JSON list. Raises LlmopsError for one that cannot be read or names a key twice."""
    try:
        settings = TypeAdapter(list[KeySettings]).validate_python(json.loads(store_for(uri).read(uri)))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        raise LlmopsError(f"{uri}: is no list of API keys ({problems}); write it with `llmops-serve key`") from error
    except ValueError as error:
        raise LlmopsError(f"{uri}: is not JSON; write it with `llmops-serve key`") from error
    if not settings:
        raise LlmopsError(f"{uri}: holds no key, so nobody could ask; add one with `llmops-serve key keys={uri} name=NAME`")
    if len({one.sha256 for one in settings}) != len(settings) or len({one.name for one in settings}) != len(settings):
        raise LlmopsError(f"{uri}: holds a key or a name twice; remove one")
    return Keys(settings)
