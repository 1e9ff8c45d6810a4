"""The expressions of a SageMaker pipeline's definition, worked out as the service does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_shared.errors import LlmopsError


@dataclass
class Execution:
    """What the expressions of an execution can refer to."""

    parameters: Mapping[str, str | int]
    """Values of the parameters."""
    variables: Mapping[str, str]
    """`PipelineName`, `PipelineExecutionId`, ..."""
    documents: dict[tuple[str, str], Path] = field(default_factory=dict)
    """Local copy of each property file, by step and name, once its step is done."""

    def resolve(self, value: Any) -> Any:
        """The value with every expression in it worked out. Raises LlmopsError for what is not known or not supported."""
        match value:
            case {"Get": str(name)} if len(value) == 1:
                return self.get(name)
            case {"Std:Join": {"On": on, "Values": values}} if len(value) == 1:
                return on.join(str(self.resolve(one)) for one in values)
            case {"Std:JsonGet": {"PropertyFile": {"Get": str(name)}, "Path": path}} if len(value) == 1:
                return self.json_value(name, path)
            case dict():
                return {key: self.resolve(one) for key, one in value.items()}
            case list():
                return [self.resolve(one) for one in value]
        return value

    def get(self, name: str) -> Any:
        """A parameter or a variable of the execution."""
        kind, _, key = name.partition(".")
        known = {"Parameters": self.parameters, "Execution": self.variables}.get(kind, {})
        if key not in known:
            raise LlmopsError(f"{name}: there is no such value in this execution")
        return known[key]

    def json_value(self, name: str, path: str) -> Any:
        """A field of a step's property file, by dotted path."""
        _, step, _, file = name.split(".")
        if (step, file) not in self.documents:
            raise LlmopsError(f"{name}: its step has not left this file")
        value = json.loads(self.documents[step, file].read_bytes())
        for key in path.split("."):
            value = value[key]
        return value

    def holds(self, condition: Mapping[str, Any]) -> bool:
        """Whether a condition is true."""
        match condition:
            case {"Type": "Equals", "LeftValue": left, "RightValue": right}:
                return bool(self.resolve(left) == self.resolve(right))
            case {"Type": "In", "QueryValue": query, "Values": values}:
                return self.resolve(query) in self.resolve(values)
            case {"Type": "Not", "Condition": inner}:
                return not self.holds(inner)
            case {"Type": "Or", "Conditions": inner}:
                return any(self.holds(one) for one in inner)
        raise LlmopsError(f"condition of type {condition.get('Type')} is not simulated")


def references(value: Any) -> set[str]:
    """Names of the steps that a value refers to."""
    match value:
        case {"Get": str(name)} if name.startswith("Steps."):
            return {name.split(".")[1]}
        case dict():
            return set().union(*(references(one) for one in value.values()))
        case list():
            return set().union(*(references(one) for one in value))
    return set()
