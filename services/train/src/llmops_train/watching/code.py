"""Which code trained: a digest over the installed sources."""

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

PACKAGES = ("llmops_shared", "llmops_train")


def code_digest() -> str:
    """sha256 over names and contents of our packages' modules, equal wherever the same code is installed."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for name, content in sorted(modules(resources.files(package), package)):
            digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def modules(folder: Traversable, path: str) -> list[tuple[str, bytes]]:
    """(path, content) of the modules below a folder."""
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += modules(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".py"):
            found.append((f"{path}/{entry.name}", entry.read_bytes()))
    return found
