"""The job `llmops-preprocess run`: from a source to a DatasetManifest."""

import logging
from pathlib import Path

from llmops_preprocess.config import PreprocessConfig
from llmops_preprocess.given_tokenizer import files_digest, tokenizer_files
from llmops_preprocess.sources import source_digest
from llmops_shared import s3_requests
from llmops_shared.contracts.dataset import DatasetManifest, Split
from llmops_shared.documents import document_uri, read_document, sha256, write_document
from llmops_shared.resume import finished
from llmops_shared.tracking import Run, tracked

logger = logging.getLogger(__name__)


def make_dataset(config: PreprocessConfig) -> DatasetManifest:
    """Reads, filters, splits, tokenizes, packs and writes; a finished dataset of the same settings and source is kept."""
    s3_requests.take()  # those of an earlier job in this process
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

    from llmops_preprocess.parts import parts_folder, remove_parts, scratch
    from llmops_preprocess.requests import report_requests

    folder = parts_folder(config, inputs)
    with tracked(config.tracking, "preprocess", config.name) as run, scratch(folder) as place:
        manifest, fills, sent = build(config, given, folder, place)
        track(run, config, manifest, fills, place)
        remove_parts(config.out)
        report_requests(sent, run)
        write_document(config.out, manifest)
    return manifest


def build(
    config: PreprocessConfig, given: dict[str, Path] | None, folder: str, place: Path
) -> tuple[DatasetManifest, dict[str, float], dict[str, int]]:
    """Writes all parts; the manifest that names them, how full the sequences of each split are, and the requests it took."""
    from llmops_preprocess.engine import engine_for
    from llmops_preprocess.output import write_parquet, write_rows, write_tokenizer
    from llmops_preprocess.parts import part_uri
    from llmops_preprocess.read_part import total
    from llmops_preprocess.slices import plan_slices
    from llmops_preprocess.sources import check_broken, read_slices, source_of, store_dead_letters
    from llmops_preprocess.stages import check_splits, encode, report, select, train_texts
    from llmops_preprocess.tokenize import make_tokenizer
    from llmops_preprocess.write_shards import write_shards

    slices = plan_slices(config)
    with engine_for(config, len(slices)) as engine:
        summaries = read_slices(folder, slices, config, engine)
        source = source_of(folder, summaries, config)
        dead_letter = store_dead_letters(folder, summaries, config.out, place)
        check_broken(source, summaries, config)
        counts = [total(found) for found in zip(*(summary.counts for summary in summaries), strict=True)]
        selection, more = select(folder, summaries, counts, config, engine)

        tokenizer = make_tokenizer(given, train_texts(selection, config), config, place / "tokenizer")
        tokenizer_part = write_tokenizer(config.out, tokenizer)
        encoded = encode(selection, tokenizer, config, engine)
        tokenize_count = total([item.count for item in encoded])
        report(tokenize_count)
        num_rows = {name: sum(item.num_rows.get(name, 0) for item in encoded) for name in selection.num_rows}
        check_splits(num_rows, config)

        splits, fills = {}, {}
        for name, count in num_rows.items():
            shards = write_shards(selection.folder, name, encoded, tokenizer, config, engine, place)
            uris = [part_uri(selection.folder, item.number, f"{name}.jsonl") for item in encoded if item.num_rows.get(name)]
            rows = write_rows(config.out, name, uris, place)
            num_tokens = sum(item.num_tokens.get(name, 0) for item in encoded)
            forms = len({"safetensors", "webdataset"} & set(config.formats))
            num_sequences = sum(shard.num_sequences for shard in shards) // forms
            fills[name] = num_tokens / (num_sequences * config.sequence_length)
            parquet = write_parquet(config.out, rows, place) if "parquet" in config.formats else []
            splits[name] = Split(num_rows=count, num_tokens=num_tokens, rows=rows, shards=shards, parquet=parquet)
            logger.info("%s: %d rows, %d tokens in %d sequences, %.2f %% filled", name, count, num_tokens, num_sequences, 100 * fills[name])
    manifest = DatasetManifest(
        name=config.name,
        view=config.view,
        sources=[source],
        counts=[*counts, *more, tokenize_count],
        sequence_length=config.sequence_length,
        tokenizer=tokenizer_part,
        splits=splits,
        dead_letter=dead_letter,
    )
    return manifest, fills, dict(engine.requests)


def track(run: Run, config: PreprocessConfig, manifest: DatasetManifest, fills: dict[str, float], place: Path) -> None:
    """Tells MLflow: settings, counts, the manifest, and the dataset it names."""
    metrics: dict[str, float] = {"packing_fill": fills["train"], "vocab_size": manifest.tokenizer.vocab_size}
    for name, split in manifest.splits.items():
        metrics |= {f"rows_{name}": split.num_rows, f"tokens_{name}": split.num_tokens}
    for count in manifest.counts:
        metrics |= {f"dropped_{count.stage}_{reason}": number for reason, number in count.dropped.items()}
    run.parameters(config.model_dump(mode="json", exclude={"out", "tracking"}))
    run.metrics(metrics)
    file = place / DatasetManifest.file_name
    file.write_bytes(manifest.to_json())
    run.artifact(file)
    run.dataset(manifest, document_uri(config.out, DatasetManifest), sha256(manifest.to_json()), "output")
