"""Personal data and keys found by rules: as annotations, masked, or as a reason to drop a document."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from llmops_preprocess.annotations import Annotation, non_overlapping
from llmops_preprocess.record import Record, Stage, keep
from llmops_preprocess.row_rules_config import Pii
from llmops_shared.contracts.exchange import Message
from llmops_shared.pii import PiiKind, find, mask


def handle_pii(records: Sequence[Record], config: Pii) -> Stage:
    """Masks or drops what the rules find, as `pii`."""
    if config.action == "drop":
        return keep("pii", records, lambda record: "pii" if find_pii(record.text, config.kinds) else None)
    return keep("pii", [masked(record, config.kinds) for record in records], lambda record: None)


def masked(record: Record, kinds: Sequence[PiiKind]) -> Record:
    """The record with every text of it masked."""
    messages, rejected = masked_turns(record.messages, kinds), masked_turns(record.rejected, kinds)
    text = "\n\n".join(message.content for message in messages) if messages else mask(record.text, kinds)
    definition = record.definition
    if definition is not None:
        definition = replace(definition, docstring=mask(definition.docstring, kinds))
    return replace(record, text=text, messages=messages, rejected=rejected, definition=definition)


def masked_turns(messages: Sequence[Message], kinds: Sequence[PiiKind]) -> tuple[Message, ...]:
    """The turns with their words masked."""
    return tuple(message.model_copy(update={"content": mask(message.content, kinds)}) for message in messages)


def masked_text(text: str, annotations: Iterable[Annotation]) -> str:
    """The text with each annotated stretch replaced by its type in brackets."""
    parts, last = list[str](), 0
    for item in non_overlapping(annotations):
        parts += [text[last : item.begin], f"[{item.type}]"]
        last = item.end
    return "".join([*parts, text[last:]]) if parts else text


def find_pii(text: str, kinds: Sequence[PiiKind]) -> list[Annotation]:
    """What the rules find, in order of the text, none over another."""
    return [Annotation(item.kind, item.begin, item.end, item.score, "rules") for item in find(text, kinds)]
