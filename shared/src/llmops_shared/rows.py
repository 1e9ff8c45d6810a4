"""The rows inside a dataset, as JSON lines."""

from pydantic import Field

from llmops_shared.contracts.document import Value
from llmops_shared.contracts.exchange import Message


class TextRow(Value):
    """One document of a text dataset."""

    id: str
    """Digest of source and text; stable over runs."""
    text: str
    """The text after all stages."""
    source: str
    """What it was read from, such as `python:3.11.7/shutil.copytree`."""
    metadata: dict[str, str]
    """What the source knows of it: `module`, `qualified_name`, ..."""
    licence: str
    """Licence of the text."""


class ChatRow(Value):
    """One conversation of a chat dataset; the last message is the answer to learn."""

    id: str
    """Digest of source and messages; stable over runs."""
    messages: list[Message] = Field(min_length=2)
    """The conversation, the answer last; of a preference pair the answer that was chosen."""
    source: str
    """What it was made from, such as `python:3.11.7/shutil.copytree`."""
    metadata: dict[str, str]
    """`question`: the kind of question (`signature`, `purpose`, ...), and what the source knows."""
    licence: str
    """Licence of the text."""
    rejected: list[Message] = Field(default=[])
    """Of a preference pair the conversation with the other answer; left out of the line where there is none."""
