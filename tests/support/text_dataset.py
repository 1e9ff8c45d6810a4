"""A small text dataset as preprocess writes it, for tests of what reads one."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llmops_shared.contracts import DatasetManifest
from llmops_shared.contracts.dataset import Source, Split, StageCount
from llmops_shared.contracts.dataset import Tokenizer as TokenizerFiles
from llmops_shared.documents import store_part, write_document
from llmops_shared.rows import TextRow


def text_row(name: str, text: str) -> TextRow:
    """A row about one name of a library."""
    return TextRow(id=f"row-{name}", text=text, source=f"python:3.11.7/{name}", metadata={"qualified_name": name}, licence="PSF-2.0")


def write_text_dataset(folder: str, splits: dict[str, Sequence[TextRow]]) -> DatasetManifest:
    """Writes rows, a byte-level BPE tokenizer trained on them, and the manifest; there are no shards."""
    rows = [row for split in splits.values() for row in split]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        (row.text for row in rows), trainers.BpeTrainer(vocab_size=4096, show_progress=False, initial_alphabet=alphabet)
    )
    lines = {name: "".join(row.model_dump_json() + "\n" for row in split).encode() for name, split in splits.items()}
    manifest = DatasetManifest(
        name="library",
        view="text",
        sources=[Source(uri="python:3.11.7", kind="python_stdlib", num_records=len(rows), sha256="0" * 64, licence="PSF-2.0")],
        counts=[StageCount(stage="read", rows_in=len(rows), rows_out=len(rows), dropped={})],
        sequence_length=256,
        tokenizer=TokenizerFiles(
            files=[store_part(folder, "tokenizer/tokenizer.json", tokenizer.to_str().encode())], vocab_size=tokenizer.get_vocab_size()
        ),
        splits={
            name: Split(num_rows=len(split), num_tokens=0, rows=[store_part(folder, f"{name}/rows.jsonl", lines[name])], shards=[])
            for name, split in splits.items()
        },
        dead_letter=None,
    )
    write_document(folder, manifest)
    return manifest
