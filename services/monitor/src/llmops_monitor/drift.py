"""`llmops-monitor drift`: whether one window of traffic differs from another."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmops_monitor.config import DriftConfig
from llmops_monitor.load import asked, dead_letter, digest, log_of, read_log, select
from llmops_shared.contracts.document import Reference
from llmops_shared.contracts.endpoint import Endpoint
from llmops_shared.contracts.report import Measurement, Report
from llmops_shared.documents import refer
from llmops_shared.page import Table, render
from llmops_shared.resume import digest_of, finished

if TYPE_CHECKING:
    from llmops_monitor.classifier import Separation
    from llmops_monitor.descriptors import Text
    from llmops_monitor.judgement import Values
    from llmops_monitor.windows import Samples

logger = logging.getLogger(__name__)

NUM_SHOWN = 10
MAX_SHOWN_CHARACTERS = 1500
MIN_TEXTS = 5
"""A word is shown when so many texts have it, and a fiftieth of all."""
MAX_WORD = 25


def run(config: DriftConfig) -> Report:
    """Reads two windows, describes their texts, tests every descriptor and a classifier, and decides."""
    if config.profile is not None:
        from llmops_monitor.against_profile import run as run_against_profile

        return run_against_profile(config)
    log = read_log(log_of(config.endpoint, config.exchanges))
    reference, current = select(log, config.reference, "reference"), select(log, config.current, "current")
    inputs = {"reference": digest(reference, log.broken), "current": digest(current, log.broken)}
    subjects: dict[str, Reference] = {}
    if config.endpoint is not None:
        inputs["endpoint"] = digest_of(config.endpoint, Endpoint)
        subjects["endpoint"] = refer(config.endpoint, Endpoint, config.out)
    kept = finished(config, Report, inputs)
    if kept is not None:
        return kept

    from llmops_monitor.descriptors import describe
    from llmops_monitor.judgement import Judgement, judge, num_permutations
    from llmops_monitor.publish import Findings, publish
    from llmops_monitor.windows import independent

    samples = independent(reference, current, config.text)
    files: dict[str, tuple[str, bytes]] = {"dead_letter": ("dead_letter.jsonl", dead_letter(log.broken))} if log.broken else {}
    judgement = Judgement("not_enough_data", [scarcity(samples, config)], [])
    tables: list[Table] = []
    if min(len(samples.reference), len(samples.current)) >= config.min_rows:
        from llmops_monitor.classifier import separate

        values = describe(samples.reference, samples.current)
        logger.info("%d descriptors of %d and %d texts", len(values), len(samples.reference), len(samples.current))
        separation = separate(samples.reference, samples.current, num_permutations(config, len(values) + 1), 0.95, config.seed)
        judgement = judge(values, separation, config)
        tables = [descriptor_table(values, judgement.measurements), word_table(samples), text_table(samples, separation)]
        if config.evidently:
            from llmops_monitor.evidently_report import make_report

            masked = masked_texts(samples) if config.evidently_texts else None
            made = make_report(values, config.alpha / (len(values) + 1), masked)
            files["evidently"] = ("evidently.html", made.html)
            judgement.reasons.append(f"Evidently: {made.num_failed} of {made.num_conditions} conditions failed (its report shows which).")
    reasons = judgement.reasons + samples.remarks
    if log.broken:
        reasons.append(f"{len(log.broken)} broken lines of the log were left out; they are listed in dead_letter.jsonl.")
    logger.info("verdict %s", judgement.verdict)

    summary = (
        f"{config.text}s of {asked(config.current)} ({len(samples.current)}) against those of "
        f"{asked(config.reference)} ({len(samples.reference)})"
    )
    # the figures of single descriptors are in a table of their own, one row a descriptor
    shown = [figure for figure in judgement.measurements if "/" not in figure.name]
    files["html"] = ("report.html", render(f"Drift: {config.name}", summary, shown, judgement.verdict, reasons, tables).encode())
    return publish(config, Findings("drift", config.name, subjects, judgement.measurements, judgement.verdict, reasons, files))


def scarcity(samples: "Samples", config: DriftConfig) -> str:
    """Why there is no verdict."""
    return (
        f"The windows hold {len(samples.reference)} (reference) and {len(samples.current)} (current) different prompts; "
        f"{config.min_rows} are needed in each (min_rows)."
    )


def descriptor_table(values: "Values", measurements: Sequence[Measurement]) -> Table:
    """One row a descriptor, the one that moved most first."""
    from llmops_monitor.descriptors import DESCRIPTORS, UNKNOWN_WORDS

    meanings = {descriptor.name: descriptor.meaning for descriptor in (*DESCRIPTORS, UNKNOWN_WORDS)}
    figures = {figure.name: figure for figure in measurements}
    rows = []
    for name in sorted(values, key=lambda name: (figures[f"p_value/{name}"].value, name)):
        reference, current = values[name]
        shift = figures.get(f"shift/{name}")
        rows.append(
            [
                f"{name} ({meanings[name]})",
                f"{reference.mean():.4g} ± {reference.std():.3g}",
                f"{current.mean():.4g} ± {current.std():.3g}",
                "" if shift is None else f"{shift.value:+.2f} ({shift.low:+.2f} to {shift.high:+.2f})",
                f"{figures[f'ks/{name}'].value:.3f}",
                f"{figures[f'p_value/{name}'].value:.2g}",
            ]
        )
    columns = ("Descriptor", "Reference (mean ± sd)", "Current (mean ± sd)", "Shift in sd", "KS distance", "Corrected p")
    return Table("Descriptors", columns, rows)


def word_table(samples: "Samples") -> Table:
    """The words whose share of texts changed most."""
    shares = [
        {word: count / len(texts) for word, count in Counter(word for text in texts for word in set(text.words)).items()}
        for texts in (samples.reference, samples.current)
    ]
    common = {word for word in {*shares[0], *shares[1]} if word.isalpha() and len(word) <= MAX_WORD}
    sizes = len(samples.reference), len(samples.current)
    # a word that few people wrote may be somebody's name
    common = {word for word in common if sum(shares[side].get(word, 0) * sizes[side] for side in (0, 1)) >= max(MIN_TEXTS, sum(sizes) / 50)}
    moved = sorted(common, key=lambda word: (-abs(shares[1].get(word, 0) - shares[0].get(word, 0)), word))[:NUM_SHOWN]
    rows = [[word, f"{shares[0].get(word, 0):.1%}", f"{shares[1].get(word, 0):.1%}"] for word in moved]
    return Table("Words whose share of texts changed most", ("Word", "Reference", "Current"), rows)


def masked_texts(samples: "Samples") -> tuple[list[str], list[str]]:
    """The texts of both windows as a page may show them."""
    from llmops_monitor.mask import mask

    return [mask(text.content) for text in samples.reference], [mask(text.content) for text in samples.current]


def text_table(samples: "Samples", separation: "Separation") -> Table:
    """The texts of the current window that are least like the reference."""

    from llmops_monitor.mask import mask

    def shown(text: "Text") -> list[str]:
        content = mask(text.content)
        return [content if len(content) <= MAX_SHOWN_CHARACTERS else f"{content[:MAX_SHOWN_CHARACTERS]} …"]

    rows = [shown(samples.current[index]) for index in separation.most_current[:NUM_SHOWN]]
    return Table("Current texts least like the reference", ("Text",), rows)
