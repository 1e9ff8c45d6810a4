"""The embedded PostgreSQL: deep folders, several users, killed processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.database import Database
from llmops_shared.retrieval.pgserver import EmbeddedServer, as_owner, binaries

JOIN = """
import sys, time
from pathlib import Path
from llmops_shared.retrieval.pgserver import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), create=True)
print("joined", flush=True)
if sys.argv[2] == "stay":
    time.sleep(60)
server.close()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database folder to copy: making one takes a second."""
    folder = tmp_path_factory.mktemp("cluster") / "pgdata"
    EmbeddedServer(folder, create=True).close()
    return folder


@pytest.fixture
def folder(cluster: Path, tmp_path: Path) -> Iterator[Path]:
    """A database of its own, in a path with a space."""
    place = copy(cluster, tmp_path / "a folder" / "pgdata")
    yield place
    assert not runs(place), "a test left its server running"


def copy(cluster: Path, place: Path) -> Path:
    shutil.copytree(cluster, place, symlinks=True)
    owner = (cluster / "data").stat()
    for path in [place / "data", *(place / "data").rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)  # a copy made by root belongs to root, and PostgreSQL is never run as root
    return place


def runs(folder: Path) -> bool:
    """Whether the folder's server runs, told from outside of the code under test."""
    try:
        os.kill(postmaster(folder), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def answer(server: EmbeddedServer) -> int:
    with psycopg.connect(server.connection) as connection:
        row = connection.execute("SELECT 42").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("name", ["a long folder name/" * 12, "one, two", 'it\'s "quoted" $HOME `x` \\'])
def test_it_starts_in_any_path(cluster: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"PGHOST": "nowhere", "PGUSER": "nobody", "PGDATABASE": "none", "PGPORT": "1"}.items():
        monkeypatch.setenv(variable, value)
    folder = copy(cluster, tmp_path / name / "pgdata")

    server = EmbeddedServer(folder, create=False)

    assert answer(server) == 42
    server.close()
    assert not runs(folder)


def test_it_is_made_in_a_path_with_a_space(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "a folder" / "pgdata", create=True)

    assert answer(server) == 42
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who cannot run PostgreSQL as itself")
def test_root_may_have_its_environment_where_nobody_else_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = binaries().parents[1]  # bin, pginstall18, the wheel
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    for part in (installed, installed.with_name(installed.name + ".libs")):
        shutil.copytree(part, locked / part.name, ignore=shutil.ignore_patterns("pginstall"))
    monkeypatch.syspath_prepend(str(locked))
    assert binaries().is_relative_to(locked)

    server = EmbeddedServer(tmp_path / "pgdata", create=True)

    assert answer(server) == 42
    server.close()
    assert not runs(tmp_path / "pgdata")


def test_the_last_user_stops_it(folder: Path) -> None:
    first, second = EmbeddedServer(folder, create=False), EmbeddedServer(folder, create=False)

    first.close()

    assert answer(second) == 42
    second.close()
    assert not runs(folder)


def test_processes_that_start_at_once_share_one_server(tmp_path: Path) -> None:
    folder = tmp_path / "pgdata"

    users = [subprocess.Popen([sys.executable, "-c", JOIN, str(folder), "leave"], stdout=subprocess.PIPE, text=True) for _ in range(3)]

    assert [user.communicate(timeout=60)[0] for user in users] == ["joined\n"] * 3
    assert [user.returncode for user in users] == [0, 0, 0]
    assert not runs(folder)


def test_a_killed_user_does_not_keep_it_running(folder: Path) -> None:
    server = EmbeddedServer(folder, create=False)
    with subprocess.Popen([sys.executable, "-c", JOIN, str(folder), "stay"], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "joined\n"
        user.kill()

    server.close()

    assert not runs(folder)


def test_it_starts_again_after_kill_9(folder: Path) -> None:
    with Database(f"pgserver:{folder}", "/") as database:
        with database.connection() as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        database.forget()

        os.kill(postmaster(folder), signal.SIGKILL)

        with database.connection() as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_stale_process_id_that_somebody_else_has_now_does_not_block_it(folder: Path) -> None:
    server = EmbeddedServer(folder, create=False)
    os.kill(postmaster(folder), signal.SIGKILL)
    os.close(server._users)  # as if this process had been killed as well
    stale = folder / "data" / "postmaster.pid"
    lines = stale.read_text().splitlines()
    wait_until_killed(lines[0])

    # PostgreSQL itself refuses to start when the number belongs to any process of its user
    with subprocess.Popen(as_owner(folder / "data", [str(shutil.which("sleep")), "60"])) as somebody:
        stale.write_text("\n".join([str(somebody.pid), *lines[1:]]) + "\n")
        again = EmbeddedServer(folder, create=False)
        assert answer(again) == 42
        again.close()
        assert somebody.poll() is None
        somebody.kill()


def wait_until_killed(process_id: str) -> None:
    os.waitpid(int(process_id), 0)
    time.sleep(0.1)  # its children end by themselves


def test_a_half_made_database_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "pgdata"
    (folder / "data.partial" / "base").mkdir(parents=True)

    server = EmbeddedServer(folder, create=True)

    assert answer(server) == 42
    server.close()


def test_a_database_that_is_not_there_is_not_made_for_a_reader(tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match=r"pgdata: there is no database .* run `llmops-preprocess index` again into a new folder"):
        Database("pgserver:pgdata", str(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_start_shows_its_own_words(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(LlmopsError, match=r"PostgreSQL ended at once: .*9\.6"):
        EmbeddedServer(folder, create=False)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LlmopsError, match=r"file/pgdata: cannot hold a database"):
        EmbeddedServer(tmp_path / "file" / "pgdata", create=True)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mysql://host/x", "store mysql://host/x: is neither"),
        ("postgresql://me:secret@host/x", r"store postgresql://\.\.\.@host: has a password"),
        ("postgresql://host/x?password=secret", r"store postgresql://\.\.\.@host: has a password"),
        ("postgresql://me@127.0.0.1:1/x", "postgresql://me@127.0.0.1:1/x: PostgreSQL does not answer"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_without_its_password(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LlmopsError, match=message) as refused, Database(uri, str(tmp_path)) as database, database.connection():
        pass

    assert "secret" not in str(refused.value)


def test_an_embedded_store_needs_a_local_folder() -> None:
    with pytest.raises(LlmopsError, match="needs a local folder, not s3://bucket/index/pgdata"):
        Database("pgserver:pgdata", "s3://bucket/index")
