"""A finished local file is moved into a store, also from another filesystem."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_shared.errors import LlmopsError
from llmops_shared.store import LocalStore


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another filesystem than `tmp_path`."""
    folder = Path(f"/dev/shm/llmops-test-{os.getpid()}")
    if not folder.parent.is_dir() or folder.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm on a filesystem of its own")
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_file_moves_across_filesystems(tmp_path: Path, elsewhere: Path) -> None:
    source, target = elsewhere / "part", tmp_path / "out" / "part"
    source.write_bytes(b"x" * 100_000)

    LocalStore().write(str(target), source)

    assert target.read_bytes() == b"x" * 100_000
    assert not source.exists()
    assert [path.name for path in target.parent.iterdir()] == ["part"]


def test_what_cannot_be_copied_leaves_the_old_file(tmp_path: Path, elsewhere: Path) -> None:
    source, target = elsewhere / "part", tmp_path / "out" / "part"
    target.mkdir(parents=True)  # a folder is in the way
    source.write_bytes(b"new")

    with pytest.raises(LlmopsError, match="cannot be written"):
        LocalStore().write(str(target), source)

    assert source.read_bytes() == b"new"
    assert target.is_dir()
    assert [path.name for path in target.parent.iterdir()] == ["part"]


def test_a_file_moves_within_a_filesystem(tmp_path: Path) -> None:
    source, target = tmp_path / "part.tmp", tmp_path / "out" / "part"
    source.write_bytes(b"new")

    LocalStore().write(str(target), source)

    assert target.read_bytes() == b"new"
    assert not source.exists()
