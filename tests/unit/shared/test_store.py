import os
import stat
from pathlib import Path

import pytest

from llmops_shared.errors import LlmopsError
from llmops_shared.store import exists, folder_of, join, relative, store_for


def test_what_is_written_is_read_listed_fetched_and_removed(root):
    store = store_for(root)
    store.write(f"{root}/b/2.txt", b"two")
    store.write(f"{root}/a.txt", b"one")
    store.write(f"{root}/a.txt", b"one again")

    assert store.read(f"{root}/a.txt") == b"one again"
    assert store.entries(root) == [(f"{root}/a.txt", 9), (f"{root}/b/2.txt", 3)]
    assert store.fetch(f"{root}/b/2.txt").read_bytes() == b"two"
    assert sorted(path.name for path in store.fetch(root).rglob("*.txt")) == ["2.txt", "a.txt"]
    store.remove(f"{root}/a.txt")
    assert not exists(f"{root}/a.txt")


def test_a_finished_local_file_is_moved_in(root, tmp_path):
    made = tmp_path / "made"
    made.write_bytes(b"content")

    store_for(root).write(f"{root}/part.bin", made)

    assert store_for(root).read(f"{root}/part.bin") == b"content"
    assert not made.exists()


def test_a_prefix_is_a_folder_and_not_the_start_of_a_name(root):
    store_for(root).write(f"{root}/data2/x", b"")

    assert store_for(root).entries(f"{root}/data") == []
    assert not exists(f"{root}/data2")


def test_what_is_missing_is_named(root):
    with pytest.raises(LlmopsError, match="none.txt"):
        store_for(root).read(f"{root}/none.txt")
    with pytest.raises(LlmopsError, match="there is no such"):
        store_for(root).fetch(f"{root}/none")


def test_a_bucket_that_does_not_exist_is_named(bucket):
    with pytest.raises(LlmopsError, match="s3://no-such-bucket/x: S3 answered NoSuchBucket"):
        store_for("s3://no-such-bucket/x").read("s3://no-such-bucket/x")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LlmopsError, match=r"cannot be written .*choose another out="):
        store_for("").write(f"{tmp_path}/file/below.txt", b"x")


def test_a_failed_write_leaves_the_old_object_and_no_scrap(tmp_path, monkeypatch):
    target = f"{tmp_path}/document.json"
    store_for(target).write(target, b"old")

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(LlmopsError, match="No space left on device"):
        store_for(target).write(target, b"new")

    assert Path(target).read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["document.json"]


def test_documents_are_readable_by_others(tmp_path):
    store_for("").write(f"{tmp_path}/document.json", b"{}")

    assert stat.S_IMODE(os.stat(tmp_path / "document.json").st_mode) == 0o644


def test_an_unknown_scheme_is_refused():
    with pytest.raises(LlmopsError, match=r"no store for gs://"):
        store_for("gs://bucket/x")


@pytest.mark.parametrize(
    ("folder", "name", "uri"),
    [
        ("a/b", "c.json", "a/b/c.json"),
        ("a/b", "../c/d", "a/c/d"),
        ("s3://k/a/b", "../c.json", "s3://k/a/c.json"),
        ("a", "/abs", "/abs"),
        ("a", "s3://k/x", "s3://k/x"),
    ],
)
def test_join_resolves_what_a_document_says(folder, name, uri):
    assert join(folder, name) == uri
    assert os.path.abspath(join(folder, relative(uri, folder))) == os.path.abspath(uri)


def test_folder_of():
    assert [folder_of(uri) for uri in ("a/b.json", "b.json", "/b", "s3://k/a/b.json")] == ["a", ".", "/", "s3://k/a"]
