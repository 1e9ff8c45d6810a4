"""What all documents have in common: a version, parts named by digest, references to other documents."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Sha256 = str


class Value(BaseModel):
    """A frozen piece of a document; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), defer_build=True)


class Part(Value):
    """A file that belongs to a document."""

    path: str
    """Where it is, relative to the folder of the document."""
    size_bytes: int = Field(ge=0)
    """Its exact size."""
    sha256: Sha256
    """SHA-256 of its content, in hexadecimal."""


class Reference(Value):
    """Another document, pinned by its digest: the links of the lineage chain."""

    uri: str
    """Where it is: an absolute URI, or a path relative to the folder of the document that refers to it."""
    sha256: Sha256
    """SHA-256 of the document's bytes, in hexadecimal."""


class Contract(Value):
    """A document one service writes and another reads. It is written last: when it exists, its parts are complete."""

    file_name: ClassVar[str]
    """The name of the document inside its folder."""

    schema_version: Literal[1] = 1
    """Version of this document's shape; a reader refuses a version it does not know."""

    def to_json(self) -> bytes:
        """The document's bytes: UTF-8 JSON, keys in the order of the schema, so that equal documents have equal digests."""
        return self.model_dump_json(indent=2).encode() + b"\n"
