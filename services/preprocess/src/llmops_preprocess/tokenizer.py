"""The tokenizer of a dataset: trained here, or given; always written as a folder that AutoTokenizer loads."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from llmops_preprocess.chat_template import PLAIN_ROLES, ROLE_TOKENS, ChatTemplate
from llmops_preprocess.fast_bpe import Encode, fast_encoder
from llmops_shared.errors import LlmopsError

END, PAD = "<|endoftext|>", "<|pad|>"
SPECIAL_TOKENS = [END, PAD, "<|system|>", "<|user|>", "<|assistant|>"]


@dataclass(frozen=True, slots=True)
class DatasetTokenizer:
    """A tokenizer folder, opened."""

    folder: Path
    """Where its files are, on this machine."""
    engine: tokenizers.Tokenizer
    """What makes ids of text."""
    template: ChatTemplate
    """What makes text of a conversation."""
    eos_token: str
    """Ends a document and an answer."""
    eos_id: int
    """Its id."""
    pad_id: int
    """Fills a sequence up; the end-of-document id where the tokenizer has no padding token."""
    fast: Encode | None = None
    """A faster way to the same ids, for tokenizers that have one."""

    @property
    def vocab_size(self) -> int:
        """One more than the highest id: what a model's embedding must hold."""
        return max(self.engine.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def adds_tokens(self) -> bool:
        """Whether the tokenizer itself puts tokens around a text."""
        return self.engine.num_special_tokens_to_add(is_pair=False) > 0

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        """Ids of each text."""
        if self.fast is not None and not (add_special_tokens and self.adds_tokens):
            return [self.fast(text) for text in texts]
        found: list[list[int]] = [item.ids for item in self.engine.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)]
        return found


def train_tokenizer(texts: Iterable[str], vocab_size: int, folder: Path) -> None:
    """Trains a byte-level BPE, which has an id for every text there is, and writes it to the folder."""
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    engine.train_from_iterator(texts, trainer)
    engine.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": SPECIAL_TOKENS[2:],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000_000,
        "chat_template": ROLE_TOKENS,
    }
    write_json(folder / "tokenizer_config.json", settings)


def open_tokenizer(folder: Path, origin: str) -> DatasetTokenizer:
    """Opens a tokenizer folder; one without a chat template gets a plain one written to it. `origin` is what messages name.

    Raises LlmopsError when it is not a fast tokenizer, or has no end-of-text token.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise LlmopsError(f"tokenizer {origin}: has no tokenizer.json; save it as a fast tokenizer with save_pretrained()")
    if "model" not in read_json(file):
        raise LlmopsError(f"tokenizer {origin}: its tokenizer.json holds no model; save it as a fast tokenizer with save_pretrained()")
    engine = tokenizers.Tokenizer.from_file(str(file))
    engine.no_truncation()
    engine.no_padding()
    settings = read_json(folder / "tokenizer_config.json")
    special = special_tokens({**read_json(folder / "special_tokens_map.json"), **settings})
    eos_id = engine.token_to_id(special.get("eos_token", ""))
    if eos_id is None:
        raise LlmopsError(f"tokenizer {origin}: names no eos_token that is in its vocabulary; add one to tokenizer_config.json")
    source = template_source(folder, settings)
    if source is None:
        source = plain_template(engine, special)
        write_json(folder / "tokenizer_config.json", {**settings, "chat_template": source})
    pad_id = engine.token_to_id(special.get("pad_token", ""))
    template = ChatTemplate(source, special, f"tokenizer {origin}")
    pad_id = eos_id if pad_id is None else pad_id
    return DatasetTokenizer(folder, engine, template, special["eos_token"], eos_id, pad_id, fast_encoder(engine))


def special_tokens(settings: dict[str, Any]) -> dict[str, str]:
    """`eos_token` and the like as text; a saved token is its text or an object with `content`."""
    found = {}
    for key, value in settings.items():
        if key.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[key] = text
    return found


def template_source(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template of a folder: its own file first, then the config, as transformers looks for it."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {item["name"]: item["template"] for item in found}.get("default")
    return found if isinstance(found, str) else None


def plain_template(engine: tokenizers.Tokenizer, special: dict[str, str]) -> str:
    """Our template of plain words, opened by the start token if the tokenizer puts one before a text."""
    start = special.get("bos_token", "")
    opens = bool(start) and engine.encode("a").ids[:1] == [engine.token_to_id(start)]
    return PLAIN_ROLES.replace("{BOS}", "{{ bos_token }}" if opens else "")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty when there is no such file. Raises LlmopsError when it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise LlmopsError(f"tokenizer: {path.name} is not valid JSON ({error})") from error
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a JSON object."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
