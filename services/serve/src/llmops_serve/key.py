"""`llmops-serve key`: makes an API key, keeps its digest, and shows it once."""

import json

from llmops_serve.arms_config import KeyConfig
from llmops_serve.limits import KeySettings, digest_of_key, new_key, read_keys
from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, store_for


def key(config: KeyConfig) -> str:
    """The new key. Raises LlmopsError when the file has the name already."""
    known = read_keys(config.keys).settings() if exists(config.keys) else []
    if config.name in {one.name for one in known}:
        raise LlmopsError(f"{config.keys}: has a key of {config.name} already; remove it there, or give another name=")
    secret = new_key()
    limits = {"requests_per_minute": config.requests_per_minute, "tokens_per_minute": config.tokens_per_minute}
    added = KeySettings(name=config.name, sha256=digest_of_key(secret), **limits)
    lines = [one.model_dump(exclude_none=True) for one in [*known, added]]
    store_for(config.keys).write(config.keys, json.dumps(lines, indent=2).encode() + b"\n")
    return secret
