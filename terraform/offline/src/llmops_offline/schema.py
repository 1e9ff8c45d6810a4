"""The provider's schema: derived from the bindings, stored, read on demand, and as protobuf."""

import json
import threading
import zipfile
from pathlib import Path
from typing import Any

from llmops_offline import bindings, functions, values
from llmops_offline.tfplugin5_pb2 import Function, GetProviderSchema, Schema

Block = dict[str, Any]

_NESTING = {
    "single": Schema.NestedBlock.SINGLE,
    "list": Schema.NestedBlock.LIST,
    "set": Schema.NestedBlock.SET,
    "map": Schema.NestedBlock.MAP,
}


def derive(archive: Path, folder: Path) -> None:
    """Writes `schema.zip`, for reading one type at a time, and `schema.pb`, the whole answer to Terraform."""
    bindings.store(bindings.extract(archive), folder / "schema.zip")
    response = SchemaStore(folder / "schema.zip").response(functions.signatures())
    (folder / "schema.pb").write_bytes(response.SerializeToString())


class SchemaStore:
    """One derived schema: a zip with a JSON document for each resource and data source."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self._lock = threading.Lock()
        self._blocks: dict[str, Block] = {}

    def block(self, kind: str, name: str = "") -> Block:
        """The block of `resources`/`data_sources` `name`, or of the `provider`."""
        entry = f"{kind}/{name}" if name else kind
        with self._lock:
            if entry not in self._blocks:
                self._blocks[entry] = json.loads(self._zip.read(entry))
            return self._blocks[entry]

    def response(self, provided: dict[str, Function]) -> GetProviderSchema.Response:
        """The schema of everything, as Terraform asks for it."""
        response = GetProviderSchema.Response()
        response.server_capabilities.get_provider_schema_optional = True
        _fill(response.provider.block, self.block("provider"))
        for entry in self._zip.namelist():
            kind, _, name = entry.partition("/")
            if not name:
                continue
            target = response.resource_schemas if kind == "resources" else response.data_source_schemas
            _fill(target[name].block, json.loads(self._zip.read(entry)))
        for name, function in provided.items():
            response.functions[name].CopyFrom(function)
        return response


def _fill(target: Schema.Block, block: Block) -> None:
    target.SetInParent()  # a block may be empty, but has to be there
    for name, attribute in block["attributes"].items():
        target.attributes.add(
            name=name,
            type=json.dumps(attribute["type"], separators=(",", ":")).encode(),
            required=attribute.get("required", False),
            optional=attribute.get("optional", False),
            computed=attribute.get("computed", False),
            sensitive=attribute.get("sensitive", False),
            write_only=attribute.get("write_only", False),
        )
    for name, nested in block["blocks"].items():
        added = target.block_types.add(
            type_name=name,
            nesting=_NESTING[nested["nesting"]],
            min_items=nested["min"],
            max_items=nested["max"],
        )
        _fill(added.block, nested["block"])


def block_type(block: Block) -> values.Type:
    """The type of a block's value, as the JSON form of a Terraform type."""
    members = {name: attribute["type"] for name, attribute in block["attributes"].items()}
    for name, nested in block["blocks"].items():
        element = block_type(nested["block"])
        if nested["nesting"] == "single":
            members[name] = element
        elif values.is_dynamic(element):
            members[name] = "dynamic"
        else:
            members[name] = [nested["nesting"], element]
    return ["object", members]


def conform(block: Block, state: values.Value) -> values.Value:
    """Makes a stored state fit the block: drops what it lost, adds what it gained as unset."""
    return values.conform(block_type(block), state, blocks=_block_names(block))


def _block_names(block: Block) -> dict[str, Any]:
    return {name: _block_names(nested["block"]) for name, nested in block["blocks"].items()}
