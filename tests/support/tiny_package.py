"""Small real model packages: a random Llama of two layers and a byte-level tokenizer with a chat template."""

import shutil
from pathlib import Path

from llmops_shared.contracts import ModelPackage, Reference
from llmops_shared.documents import describe, sha256, write_document

END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXT = [
    "Return an iterator whose next method returns elements from the first iterable until it is exhausted.",
    "Recursively copy an entire directory tree rooted at src to a directory named dst.",
    "What does itertools.chain do? Which function of shutil copies a tree?",
]


def write_package(folder: Path, seed: int = 0, name: str = "tiny", hidden_size: int = 32, context: int = 256) -> ModelPackage:
    """Builds the model and the tokenizer and packages them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model_folder = folder / "model"
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(str(model_folder))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.4,  # the usual 0.02 makes a random model repeat one token
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    model.save_pretrained(str(model_folder))
    return package_folder(folder, name, "LlamaForCausalLM", model.num_parameters(), context)


def package_folder(folder: Path, name: str, architecture: str, num_parameters: int, context: int) -> ModelPackage:
    """Writes the ModelPackage of `folder/model`."""
    paths = sorted(path for path in (folder / "model").rglob("*") if path.is_file())
    package = ModelPackage(
        name=name,
        run=Reference(uri="../run/run.json", sha256=sha256(b"a run")),
        evaluation=None,
        layout="merged",
        files=[describe(path, str(path.relative_to(folder))) for path in paths],
        architecture=architecture,
        num_parameters=num_parameters,
        max_context_tokens=context,
        dtype="float32",
        registered_model=None,
    )
    write_document(str(folder), package)
    return package


def package_copy(source: Path, folder: Path, num_parameters: int, context: int) -> ModelPackage:
    """Packages an existing model directory."""
    (folder / "model").mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix in (".json", ".safetensors"):
            shutil.copy(path, folder / "model" / path.name)
    return package_folder(folder, source.name, "LlamaForCausalLM", num_parameters, context)


def make_tokenizer():  # type: ignore[no-untyped-def]
    """A byte-level BPE tokenizer trained on a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END, USER, ASSISTANT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, additional_special_tokens=[USER, ASSISTANT], model_max_length=256
    )
    fast.chat_template = TEMPLATE
    return fast
