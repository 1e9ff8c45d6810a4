"""Reading a source: parts of the records to go on with, dead letters of the broken ones, and the count of both."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_preprocess.config import JsonLines, PreprocessConfig
from llmops_preprocess.files_config import Files
from llmops_preprocess.python_stdlib import LICENCE, library_digest, library_uri
from llmops_shared.contracts.dataset import Source
from llmops_shared.contracts.document import Part
from llmops_shared.errors import LlmopsError
from llmops_shared.store import join, relative, store_for

if TYPE_CHECKING:
    from llmops_preprocess.engine import Engine
    from llmops_preprocess.parts import PartSummary
    from llmops_preprocess.slices import Slice

logger = logging.getLogger(__name__)


def source_digest(config: PreprocessConfig) -> str:
    """A digest that changes when the source does. Raises LlmopsError when there is no source."""
    match config.source:
        case JsonLines():
            from llmops_preprocess.jsonl import jsonl_digest

            return jsonl_digest(config.source.uri, config.out)
        case Files():
            from llmops_preprocess.files import files_digest

            return files_digest(config.source, config.out)
    return library_digest()


def read_slices(folder: str, slices: "Sequence[Slice]", config: PreprocessConfig, engine: "Engine") -> "list[PartSummary]":
    """Makes a part of every slice; those an earlier run finished are kept."""
    from llmops_preprocess.parts import SUMMARY, finished_parts, part_uri
    from llmops_preprocess.progress import Progress
    from llmops_preprocess.read_part import ReadTask, read_part

    done = finished_parts(folder, len(slices), "json")
    if done:
        logger.info("kept %d of %d parts that an earlier run finished", len(done), len(slices))
    tasks = [ReadTask(folder, number, pieces, config) for number, pieces in enumerate(slices) if number not in done]
    with Progress("read", len(tasks), config.slice_bytes) as progress:
        for _ in engine.run(read_part, tasks):
            progress.step()
    uris = [part_uri(folder, number, "json") for number in range(len(slices))]
    return [SUMMARY.validate_json(store_for(uri).read(uri)) for uri in uris]


def source_of(folder: str, summaries: "Sequence[PartSummary]", config: PreprocessConfig) -> Source:
    """The source's entry in the manifest."""
    from llmops_preprocess.facts import read_array

    digest = hashlib.sha256()
    for number in range(len(summaries)):
        digest.update(read_array(folder, number, "digests").data)
    source = config.source
    files = source if isinstance(source, JsonLines | Files) else None
    return Source(
        # as seen from the dataset: no path of this machine gets into it
        uri=library_uri() if files is None else relative(files.uri, config.out),
        kind=source.kind,
        num_records=sum(summary.num_records for summary in summaries),
        sha256=digest.hexdigest(),
        licence=LICENCE if files is None else files.licence,
    )


def store_dead_letters(folder: str, summaries: "Sequence[PartSummary]", out: str, place: Path) -> Part | None:
    """The dead letters of all parts in one file; none where nothing is broken."""
    from llmops_preprocess.output import write_dead_letters
    from llmops_preprocess.parts import part_uri

    uris = [part_uri(folder, number, "dead.jsonl") for number, summary in enumerate(summaries) if summary.num_broken]
    return write_dead_letters(out, uris, place)


def check_broken(source: Source, summaries: "Sequence[PartSummary]", config: PreprocessConfig) -> None:
    """Raises LlmopsError when more records are broken than allowed, or when there is nothing but broken ones."""
    from llmops_preprocess.output import DEAD_LETTER
    from llmops_preprocess.read_part import total
    from llmops_preprocess.stages import report

    read = total([summary.counts[0] for summary in summaries])
    report(read)
    count, bad, max_bad = source.num_records, sum(summary.num_broken for summary in summaries), config.max_bad
    allowed = int(max_bad * count) if max_bad < 1 else int(max_bad)
    if bad > allowed:
        first = next(summary.first_broken for summary in summaries if summary.first_broken is not None)
        raise LlmopsError(
            f"source {source.uri}: {bad} of {count} records are broken, max_bad={max_bad:g} allows {allowed}; "
            f"the first is {first.source} line {first.line}: {first.reason}; "
            f"all are in {join(config.out, DEAD_LETTER)}: mend them, or raise max_bad"
        )
    if not read.rows_out:
        raise LlmopsError(f"source {source.uri}: holds no records ({count} read, {bad} broken); name a source with text in it")
