"""A faster engine for tokenizers that are a plain byte-level BPE: tiktoken over the same vocabulary, proven before it is used.

tiktoken merges by the rank of the result where `tokenizers` goes by the place of the merge; both are the same when ids rise with
the merges, as they do in every vocabulary that a trainer wrote. What is anything else is not taken.
"""

import itertools
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import tokenizers

logger = logging.getLogger(__name__)

Encode = Callable[[str], list[int]]

# the pattern of GPT-2's byte-level pre-tokenizer, as both libraries have it (Radford et al. 2019)
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PROBES = (
    "", " ", "\n\n  \t x", "Hello, world! It's 12,345.67 o'clock; we've 3½ left...", "naïve café — “quoted” … ½ €",
    "日本語のテキスト 한국어 العربية हिन्दी", "def f(x):\n    return {'a': [1, 2]}\n\n\n# end", "🙂🙃 e\u0301 \u200b\ufeff\u00a0\u2028|",
    "a" * 300, "\x00\x01\x7f\x80", " " * 40 + "end  ", "I'LL we'd ''s 's'm",
)  # fmt: skip


def fast_encoder(engine: tokenizers.Tokenizer) -> Encode | None:
    """What gives the very ids of `engine`, without special tokens, several times as fast; None when the tokenizer is of another kind."""
    settings = json.loads(engine.to_str())
    ranks = byte_ranks(settings)
    if ranks is None:
        return None
    import tiktoken

    encoding = tiktoken.Encoding("given", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    special = [token["content"] for token in settings["added_tokens"]]
    encode_quickly = encoding.encode_ordinary

    def encode(text: str) -> list[int]:
        if any(token in text for token in special):
            return list(engine.encode(text, add_special_tokens=False).ids)
        return encode_quickly(text)

    wrong = differing(engine, encode, [*PROBES, *(word.decode(errors="ignore") for word in ranks)][:5000])
    if wrong is not None:
        logger.info("tokenizer: no fast path, for ids differ on %r", wrong)
        return None
    return encode


def differing(engine: tokenizers.Tokenizer, encode: Encode, texts: Sequence[str]) -> str | None:
    """The first text that the two give different ids."""
    expected = engine.encode_batch_fast(list(texts), add_special_tokens=False)
    return next((text for text, item in zip(texts, expected, strict=True) if item.ids != encode(text)), None)


def byte_ranks(settings: dict[str, Any]) -> dict[bytes, int] | None:
    """Ids by the bytes they stand for, of a plain byte-level BPE whose ids rise with its merges."""
    model, before, after = settings["model"], settings["pre_tokenizer"] or {}, settings["post_processor"] or {"type": "ByteLevel"}
    plain = (
        model.get("type") == "BPE"
        and settings["normalizer"] is None
        and not any(model.get(key) for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"))
        and before.get("type") == "ByteLevel"
        and not before["add_prefix_space"]
        and before.get("use_regex", True)
        and after["type"] in ("ByteLevel", "TemplateProcessing")
        and all(not (token["lstrip"] or token["rstrip"] or token["single_word"]) for token in settings["added_tokens"])
    )
    if not plain:
        return None
    signs, added = byte_signs(), {token["content"] for token in settings["added_tokens"]}
    vocabulary: dict[str, int] = model["vocab"]
    merged = ["".join(pair) if isinstance(pair, list) else pair.replace(" ", "", 1) for pair in model["merges"]]
    ids = [vocabulary[text] for text in merged]
    if any(later <= earlier for earlier, later in itertools.pairwise(ids)):
        return None
    words = {text: number for text, number in vocabulary.items() if text not in added}
    if len(words) != 256 + len(set(merged)) or not all(set(text) <= signs.keys() for text in words):
        return None
    return {bytes(signs[sign] for sign in text): number for text, number in words.items()}


def byte_signs() -> dict[str, int]:
    """The byte each visible sign of a byte-level vocabulary stands for: those that are visible for themselves, the rest from 256 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
