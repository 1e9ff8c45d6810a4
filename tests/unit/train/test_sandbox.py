"""The sandbox: what tries to get out stays in, what is right passes, and no sandbox means no program."""

import gzip
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_shared.errors import LlmopsError
from llmops_train.benchmarks.code import check_program, run_reference
from llmops_train.sandbox import sandbox as module
from llmops_train.sandbox.sandbox import Limits, Sandbox
from support.tools import lacking

# each prints ESCAPED when it succeeds
ESCAPES = {
    "read a file of the system": "open('/etc/passwd').read()",
    "read our own code": "open({here!r}).read()",
    "look into home folders": "import os; os.listdir('/home'), os.listdir('/root/.ssh')",
    "look at other processes": "import os; os.listdir('/proc')",
    "look at devices of the kernel": "import os; os.listdir('/sys')",
    "write into the root": "open('/escaped', 'w').write('x')",
    "write into the standard library": "import os; open(os.path.dirname(os.__file__) + '/escaped.py', 'w').write('x')",
    "write to a device": "open('/dev/sda', 'wb').write(b'x')",
    "make a device": "import os, stat; os.mknod('/tmp/disk', stat.S_IFBLK | 0o600, os.makedev(8, 0))",
    "follow a link out": "import os; os.symlink('/etc', '/tmp/etc'); open('/tmp/etc/passwd').read()",
    "climb up": "import os; os.chdir('/'); os.chdir('../../..'); open('etc/shadow').read()",
    "change the root": "import os; os.mkdir('/tmp/r'); os.chroot('/tmp/r')",
    "connect to a server": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "ask the name of a server": "import socket; socket.getaddrinfo('example.com', 80)",
    "send a datagram": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",
    "listen": "import socket; socket.socket().bind(('127.0.0.1', 0))",
    "talk to a service of the machine": "import socket; socket.socket(socket.AF_UNIX).connect('/run/systemd/private')",
    "talk to the kernel's network": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "start a shell": "import subprocess; subprocess.run(['/bin/sh', '-c', 'true'], check=True)",
    "become another program": "import os; os.execv('/usr/bin/env', ['env'])",
    "fork": "import os; os.fork()",
    "fork without end": "import os\nwhile True: os.fork()",
    "start a process by another way": "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "kill who started it": "import os; os.kill(os.getppid(), 9) if os.getppid() else 1 / 0",
    "kill everything": "import os; os.kill(-1, 9)",
    "become root": "import os; os.setuid(0)",
    "enter a new space": "import ctypes; libc = ctypes.CDLL(None); assert libc.unshare(0x10000000) == 0",
    "mount": "import ctypes; libc = ctypes.CDLL(None); assert libc.mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0",
    "make the root writable": "import ctypes; libc = ctypes.CDLL(None); assert libc.mount(b'', b'/', b'', 32 | 4096, 0) == 0",
    "trace a process": "import ctypes; libc = ctypes.CDLL(None); assert libc.ptrace(16, 1, 0, 0) == 0",
    "load code into the kernel": "import ctypes; libc = ctypes.CDLL(None); assert libc.syscall(321, 5, 0, 0) >= 0",
    "use io_uring": "import ctypes; libc = ctypes.CDLL(None); p = ctypes.create_string_buffer(256); assert libc.syscall(425, 1, p) >= 0",
    "use the older system calls": "import ctypes; libc = ctypes.CDLL(None); assert libc.syscall(0x40000000 + 39) > 0",
    "take memory": "x = bytearray(4 << 30)",
    "fill the disk": "f = open('/tmp/f', 'wb')\nfor _ in range(64): f.write(bytes(1 << 20)); f.flush()",
    "open files without end": "files = [open('/tmp/f', 'w') for _ in range(500)]",
    "start threads without end": "import threading, time\nfor _ in range(200): threading.Thread(target=time.sleep, args=(1,), daemon=True).start()",
    "raise its own limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))",
}
CHEATS = {
    "leave with success": "import os; os._exit(0)",
    "leave politely": "raise SystemExit(0)",
    "write what a passed program writes": "import os; os.write(3, b'0' * 16); os._exit(0)",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        with Sandbox(Limits(wall_s=3.0, cpu_s=2.0)) as opened:
            yield opened
    except LlmopsError as error:
        lacking("a sandbox", str(error))


def test_a_program_passes_by_reaching_its_last_line(sandbox: Sandbox) -> None:
    good, bad = sandbox.run("import json, asyncio, threading\nprint('hi')\nassert 1 + 1 == 2"), sandbox.run("assert 1 + 1 == 3")

    assert (good.status, good.output) == ("passed", "hi\n")
    assert bad.status == "failed" and "AssertionError" in bad.output


def test_what_tries_to_get_out_stays_in(sandbox: Sandbox) -> None:
    import socket

    assert len(ESCAPES) >= 30
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        outcomes = {name: sandbox.run(attempt.format(here=__file__, port=port) + "\nprint('ESCAPED')") for name, attempt in ESCAPES.items()}
        with pytest.raises(TimeoutError):
            server.accept()

    assert [name for name, outcome in outcomes.items() if outcome.status == "passed" or "ESCAPED" in outcome.output] == []
    assert not Path("/escaped").exists()
    assert sandbox.run("import os; assert os.listdir('/tmp') == []").status == "passed"  # nothing is left for the next one


@pytest.mark.parametrize("name", CHEATS)
def test_leaving_early_is_no_success(sandbox: Sandbox, name: str) -> None:
    assert sandbox.run(CHEATS[name] + "\nassert False").status == "failed"


@pytest.mark.slow
def test_a_program_that_never_ends_or_prints_without_end_is_stopped() -> None:
    with Sandbox(Limits(wall_s=0.3, output_bytes=1000)) as small:
        assert small.run("import time; time.sleep(60)").status == "timeout"
        assert small.run("while True: pass").status == "timeout"
        flood = small.run("while True: print('x' * 1000)")
        assert flood.status == "too_much_output" and len(flood.output) == 1000
        assert small.run("pass").status == "passed"


@pytest.mark.slow
def test_a_program_takes_thirty_milliseconds_at_most(sandbox: Sandbox) -> None:
    times = []
    for _ in range(30):
        began = time.perf_counter()
        assert sandbox.run("pass").status == "passed"
        times.append(time.perf_counter() - began)

    assert statistics.median(times) < 0.030


@pytest.mark.slow
def test_published_solutions_pass(sandbox: Sandbox, test_data: Path) -> None:
    """Seven of MBPP's own solutions are wrong as published: they fail outside the sandbox, too."""
    for name, count in (("humaneval", 66), ("mbpp", 510)):
        with gzip.open(test_data / f"eval-{name}" / f"{name}.jsonl.gz", "rt") as file:
            rows = [json.loads(line) for line in file]
        failed = [row for row in rows if run_reference(row, sandbox.run).status != "passed"]
        assert len(rows) == count
        assert len(failed) == {"humaneval": 0, "mbpp": 7}[name]
        for row in failed:
            program = check_program(row, row["canonical_solution"] or "")
            assert subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=False).returncode != 0


def test_without_a_sandbox_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "zygote.py"
    broken.write_text("import json; print(json.dumps({'ready': False, 'reason': 'unshare: Operation not permitted'}))")
    monkeypatch.setattr(module, "ZYGOTE", broken)

    with (
        pytest.raises(LlmopsError, match="does not allow one .unshare: Operation not permitted.; generated programs run only in a sandbox"),
        Sandbox(),
    ):
        pass
