"""Opens the tokenizer of a model directory with the `tokenizers` library alone, so that a gateway loads neither torch nor transformers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmops_shared.errors import LlmopsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
LISTS = ("additional_special_tokens", "extra_special_tokens")


class TokenizerSettings(NamedTuple):
    """What a model directory says of its tokenizer."""

    path: Path
    """`tokenizer.json`."""
    template: str | None
    """Chat template, in Jinja."""
    names: dict[str, Any]
    """The control tokens by name, as chat templates use them."""


def tokenizer_settings(folder: Path) -> TokenizerSettings:
    """The settings of a model directory. Raises LlmopsError without a `tokenizer.json`, or when it would run code of its own."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise LlmopsError(f"{folder}: has no tokenizer.json; package the model with a fast tokenizer")
    settings = read_settings(folder)
    if "auto_map" in settings:
        raise LlmopsError(f"{folder}: its tokenizer wants to run code of its own (auto_map), which is never done")
    return TokenizerSettings(path, chat_template(folder, settings), special_names(settings))


def open_tokenizer(settings: TokenizerSettings) -> "Tokenizer":
    """The tokenizer itself."""
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_file(str(settings.path))
    # as transformers does: what the settings call special is special, whatever tokenizer.json says
    texts = [text for value in settings.names.values() for text in (value if isinstance(value, list) else [value])]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts])
    tokenizer.no_truncation()  # the server has limits of its own
    tokenizer.no_padding()
    return tokenizer


def read_settings(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json`, and `special_tokens_map.json` of older models below it."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= json.loads((folder / name).read_text(encoding="utf-8"))
    return settings


def special_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Control tokens by name: one text, or a list of texts."""
    names: dict[str, Any] = {name: text_of(settings[name]) for name in NAMED if settings.get(name)}
    extra = [value for name in LISTS for value in listed(settings.get(name))]
    return {**names, "additional_special_tokens": [text_of(value) for value in extra]} if extra else names


def listed(value: Any) -> list[Any]:
    """The values of a list or of a mapping."""
    return list(value.values()) if isinstance(value, dict) else list(value or [])


def text_of(token: Any) -> str:
    """A token is written as its text, or as an object with it."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template: a file of its own, or in the settings, where it may be one of several by name."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        template = {item["name"]: item["template"] for item in template}.get("default")
    return template
