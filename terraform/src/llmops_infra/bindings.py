"""Lets the stacks, written for `cdktn`, run on `cdktf` where only that is installed. Import it before any of them."""

import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# jsii prints a page about Node 20 to stderr at every start; whether the Node of a machine is supported is its owner's matter
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

OLD_NAMES = {"cdktn": "cdktf", "cdktn_provider_aws": "cdktf_cdktf_provider_aws"}


class OldBindings(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers `import cdktn...` with the module of the same API in the archived packages."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname.partition(".")[0] in OLD_NAMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        package, dot, rest = spec.name.partition(".")
        return importlib.import_module(OLD_NAMES[package] + dot + rest)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run: the module came loaded."""


def installed() -> str:
    """Which bindings this environment has, with their versions: a part of what a synthesis depends on."""
    from importlib.metadata import version

    names = ("cdktn", "cdktn-provider-aws") if importlib.util.find_spec("cdktn_provider_aws") else ("cdktf", "cdktf-cdktf-provider-aws")
    return " ".join(f"{name}=={version(name)}" for name in names)


if importlib.util.find_spec("cdktn") is None:
    sys.meta_path.append(OldBindings())
