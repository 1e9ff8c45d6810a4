"""The job `llmops-preprocess run`: from a source to a DatasetManifest."""

import logging
import tempfile
from pathlib import Path

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.given_tokenizer import files_digest, tokenizer_files
from llmops_preprocess.sources import source_digest
from llmops_shared.contracts.dataset import DatasetManifest, Split
from llmops_shared.documents import document_uri, read_document, sha256, write_document
from llmops_shared.resume import finished
from llmops_shared.store import join
from llmops_shared.tracking import Run, tracked

logger = logging.getLogger(__name__)


def make_dataset(config: PreprocessConfig) -> DatasetManifest:
    """Reads, filters, splits, tokenizes, packs and writes; a finished dataset of the same settings and source is kept."""
    given = tokenizer_files(config.tokenizer) if config.tokenizer else None
    inputs = {"source": source_digest(config)} | ({"tokenizer": files_digest(given)} if given else {})
    if config.decontamination.uris:
        from llmops_preprocess.decontaminate import evaluation_digest

        inputs |= {"evaluation_sets": evaluation_digest(config.decontamination.uris)}
    kept = finished(config, DatasetManifest, inputs)
    if kept is not None:
        return kept
    if config.engine == "glue":
        from llmops_preprocess.glue import run_on_glue

        run_on_glue(config)
        return read_document(config.out, DatasetManifest)

    from llmops_preprocess.batches import remove_parts

    with tracked(config.tracking, "preprocess", config.name) as run, tempfile.TemporaryDirectory(prefix="llmops-preprocess-") as folder:
        manifest, fills = build(config, given, Path(folder))
        track(run, config, manifest, fills, Path(folder))
        remove_parts(config.out)
        write_document(config.out, manifest)
    return manifest


def build(config: PreprocessConfig, given: dict[str, Path] | None, scratch: Path) -> tuple[DatasetManifest, dict[str, float]]:
    """Writes all parts; the manifest that names them, and how full the sequences of each split are."""
    from llmops_preprocess.batches import total
    from llmops_preprocess.output import DEAD_LETTER, write_dead_letters, write_rows, write_tokenizer
    from llmops_preprocess.shards import pack_tokens, write_shards
    from llmops_preprocess.sources import check_broken, read_source
    from llmops_preprocess.stages import check_splits, make_rows, refine, report
    from llmops_preprocess.tokenize import make_tokenizer, tokenize

    reading = read_source(config)
    report(reading.count)
    dead_letter = write_dead_letters(config.out, reading.broken)
    check_broken(reading, config.max_bad, join(config.out, DEAD_LETTER))
    documents, refined = refine(reading.records, config, reading.source.sha256)
    rows, asked = make_rows(documents, config)

    tokenizer = make_tokenizer(given, rows["train"], config, scratch / "tokenizer")
    tokenized = {name: tokenize(records, tokenizer, config) for name, records in rows.items()}
    tokenize_count = total([count for _, _, count in tokenized.values()])
    report(tokenize_count)
    check_splits({name: records for name, (records, _, _) in tokenized.items()}, config)

    splits, fills = {}, {}
    for name, (records, tokens, _) in tokenized.items():
        tensors = pack_tokens(tokens, config.sequence_length, tokenizer.vocab_size, tokenizer.pad_id, config.seed)
        shards = write_shards(config.out, name, tensors, scratch)
        num_tokens = sum(shard.num_tokens for shard in shards)
        fills[name] = num_tokens / tensors["input_ids"].size
        part = write_rows(config.out, name, records, config.view)
        splits[name] = Split(num_rows=len(records), num_tokens=num_tokens, rows=[part], shards=shards)
        logger.info(
            "%s: %d rows, %d tokens in %d sequences, %.2f %% filled",
            name, len(records), num_tokens, len(tensors["input_ids"]), 100 * fills[name],
        )  # fmt: skip
    manifest = DatasetManifest(
        name=config.name,
        view=config.view,
        sources=[reading.source],
        counts=[reading.count, *refined, *asked, tokenize_count],
        sequence_length=config.sequence_length,
        tokenizer=write_tokenizer(config.out, tokenizer),
        splits=splits,
        dead_letter=dead_letter,
    )
    return manifest, fills


def track(run: Run, config: PreprocessConfig, manifest: DatasetManifest, fills: dict[str, float], scratch: Path) -> None:
    """Tells MLflow: settings, counts, the manifest, and the dataset it names."""
    metrics: dict[str, float] = {"packing_fill": fills["train"], "vocab_size": manifest.tokenizer.vocab_size}
    for name, split in manifest.splits.items():
        metrics |= {f"rows_{name}": split.num_rows, f"tokens_{name}": split.num_tokens}
    for count in manifest.counts:
        metrics |= {f"dropped_{count.stage}_{reason}": number for reason, number in count.dropped.items()}
    run.parameters(config.model_dump(mode="json", exclude={"out", "tracking"}))
    run.metrics(metrics)
    file = scratch / DatasetManifest.file_name
    file.write_bytes(manifest.to_json())
    run.artifact(file)
    run.dataset(manifest, document_uri(config.out, DatasetManifest), sha256(manifest.to_json()), "output")
