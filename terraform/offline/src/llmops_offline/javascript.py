"""Reads the compiled JavaScript that the Python bindings of the AWS provider carry.

For every resource and data source it states each attribute's flags, in a comment such as
`// cidr_block - computed: true, optional: true, required: false`; how each argument is written to Terraform (`isBlock`, `type`,
`storageClassType`, and whether it goes through a list mapper); and, by its getter, the type of each attribute that is only computed.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

NESTED = re.compile(r"= new (?:cdk\w+\.)?(\w+)\(this, \"\w+\"(?:, (true|false))?\)")
_SECTION = re.compile(r"^(?:class (?P<cls>\w+) extends (?P<parent>[\w.]+)|function (?P<fn>\w+?)ToHclTerraform\()", re.M)
_FLAGS = re.compile(r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n")
_GETTER = re.compile(r"return ([^\n]+);")
_ENTRY = re.compile(
    r"^ +(\w+): \{\n +value: ([^\n]+),\n +isBlock: (\w+),\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\"",
    re.M,
)
_ROOTS = ("TerraformResource", "TerraformDataSource", "TerraformProvider")


class Member(NamedTuple):
    """An attribute's flags, and the expression that reads it."""

    computed: bool = False
    optional: bool = True
    required: bool = False
    expression: str = ""


class Entry(NamedTuple):
    """How an argument is written to Terraform."""

    value: str
    is_block: bool
    kind: str
    storage: str


@dataclass
class JavaScriptClass:
    """One class: its base, its attributes by name, and its text."""

    parent: str
    members: dict[str, Member]
    body: str


@dataclass
class JavaScript:
    """The classes and the HCL mapping functions of one resource's module."""

    classes: dict[str, JavaScriptClass] = field(default_factory=dict)
    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)

    def read(self, source: str) -> None:
        """Adds one file of the module."""
        source = source.partition("//# sourceMappingURL")[0]
        if "_1." in source:
            # large resources are split over files: drop the module qualifiers
            source = re.sub(r"\b(?:index|structs\d+)_1\.", "", source)
            source = re.sub(r"\(0, (\w+)\)", r"\1", source)
        for match in _SECTION.finditer(source):
            end = source.find("\n}", match.end())
            body = source[match.end() : end]
            if match["fn"]:
                self.entries[match["fn"]] = _entries(body)
                continue
            parent = match["parent"].rpartition(".")[2]
            self.classes[match["cls"]] = JavaScriptClass(parent, _members(body), body)
            if parent in _ROOTS:
                self.entries[match["cls"]] = _entries(body.partition("synthesizeHclAttributes()")[2])


def _entries(body: str) -> dict[str, Entry]:
    return {name: Entry(value, block == "true", kind, storage) for name, value, block, kind, storage in _ENTRY.findall(body)}


def _members(body: str) -> dict[str, Member]:
    found = {}
    parts = _FLAGS.split(body)
    for name, computed, optional, required, rest in zip(*(iter(parts[1:]),) * 5, strict=True):
        head = rest[:600]
        nested = NESTED.search(head)
        getter = _GETTER.search(head)
        # a nested class is declared on the line that follows the comment
        declared = nested[0] if nested and nested.start() < head.find("\n") else ""
        expression = declared or (getter[1] if getter else "")
        found[name] = Member(computed == "true", optional == "true", required == "true", expression)
    return found


def sources(archive: Path) -> Iterator[tuple[str, str]]:
    """(module, JavaScript) of each file in the bindings' jsii tarball."""
    with tarfile.open(archive, mode="r|gz") as tar:
        for member in tar:
            parts = member.name.split("/")
            if len(parts) < 4 or parts[1] != "lib" or not parts[-1].endswith(".js"):
                continue
            content = tar.extractfile(member)
            if content:
                yield parts[2], content.read().decode()
