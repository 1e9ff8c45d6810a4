"""The published rule sets for web pages, in the order in which they are usually applied."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from llmops_preprocess.c4 import clean_page
from llmops_preprocess.fineweb import broken_fineweb_rule
from llmops_preprocess.gopher import broken_quality_rule, broken_repetition_rule
from llmops_preprocess.record import Record, Stage, keep
from llmops_preprocess.row_rules_config import C4, WebQuality

RowStage = Callable[[Sequence[Record]], Stage]
"""A stage that looks at one record at a time, so that it does the same to a corpus cut into any batches."""


def web_stages(config: WebQuality) -> list[RowStage]:
    """A stage for every rule set that is on; the reason of a dropped row is the name of the rule's setting."""
    stages: list[RowStage] = []
    if (repetition := config.gopher_repetition) is not None:
        stages.append(lambda records: keep("gopher_repetition", records, lambda record: broken_repetition_rule(record.text, repetition)))
    if (quality := config.gopher_quality) is not None:
        stages.append(lambda records: keep("gopher_quality", records, lambda record: broken_quality_rule(record.text, quality)))
    if config.c4 is not None:
        stages.append(partial(filter_c4, config=config.c4))
    if (fineweb := config.fineweb) is not None:
        stages.append(lambda records: keep("fineweb", records, lambda record: broken_fineweb_rule(record.text, fineweb)))
    return stages


def filter_c4(records: Sequence[Record], config: C4) -> Stage:
    """Pages with the lines that C4 keeps; a conversation is dropped or kept, but loses no line."""
    cleaned = [clean_page(record.text, config) for record in records]
    reasons = {id(record): why for record, (_, why) in zip(records, cleaned, strict=True)}
    kept, count = keep("c4", records, lambda record: reasons[id(record)])
    texts = {id(record): text for record, (text, _) in zip(records, cleaned, strict=True)}
    return [record if record.messages else replace(record, text=texts[id(record)]) for record in kept], count
