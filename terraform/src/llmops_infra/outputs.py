"""The outputs of the platform stack: the fields of the `Platform` document, one by one."""

from collections.abc import Mapping
from typing import Any

from cdktn import TerraformOutput
from constructs import Construct

from llmops_shared.contracts.platform import Platform

Value = str | int | list[str] | Mapping[str, Any]
# an output without a value is left out by Terraform, which is how the document's fields come to be None
NOTHING = "${null}"


def write_outputs(stack: Construct, values: Mapping[str, Value | None]) -> None:
    """Declares an output for every field of `Platform`."""
    constant: dict[str, Value] = {"schema_version": 1, "kind": "platform"}
    given = {**constant, **values}
    assert given.keys() == Platform.model_fields.keys(), given.keys() ^ Platform.model_fields.keys()
    place = Construct(stack, "outputs")  # parts of the stack have some of these names, too
    for name, field in Platform.model_fields.items():
        value = given[name]
        TerraformOutput(
            place, name, value=NOTHING if value is None else value, description=" ".join((field.description or "").split()), static_id=True
        )
