"""The process inside: it makes the namespaces and the root once, then forks a process for each program.

Started as a script with `python -I -S`, so it imports the standard library alone. It reads a JSON line for each program and
answers with one. Forking an interpreter that is ready takes a few milliseconds where starting one takes twenty.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import secrets
import select
import signal
import struct
import sys
import time
import traceback
import typing

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 4096, 16384, 1 << 18, 2
SYS_PIVOT_ROOT, SYS_CAPSET, SYS_MOUNT_SETATTR = 155, 126, 442
AT_FDCWD, AT_RECURSIVE, ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = -100, 0x8000, 1, 2, 4
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, CAP_VERSION_3 = 1, 4, 0x20080522
NOBODY = 65534
DEVICES = ("null", "zero", "urandom")

Request = dict[str, typing.Any]

# what programs usually import, loaded once and before the root changes
USUAL = (
    "bisect collections copy datetime decimal fractions functools hashlib heapq itertools math operator random re statistics string types"
)

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, code: int) -> None:
    """Raises OSError when a system call failed."""
    if code:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    call(f"mount {target}", libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode() or None))


def read_only(path: str) -> None:
    """Makes everything mounted at and below a path read-only, without setuid and without devices (Linux 5.12)."""
    attributes = struct.pack("QQQQ", ATTR_RDONLY | ATTR_NOSUID, 0, 0, 0)
    call(f"mount_setattr {path}", libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE, attributes, len(attributes)))


def leave_privileges() -> None:
    """Root becomes nobody, so that a program is as weak under root as under anybody."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self/uid_map belongs to root


def enter_namespaces(proc: int) -> None:
    """A user, mount, network, IPC and name space of our own; the network has no address, not even 127.0.0.1."""
    user, group = os.getuid(), os.getgid()
    call("unshare", libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        descriptor = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def enter(root: str) -> None:
    """Namespaces and root. Only root can mount before it has a user space of its own, and only root may read where Python is."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    if os.geteuid() == 0:
        call("unshare", libc.unshare(CLONE_NEWNS))
        change_root(root)
        leave_privileges()
        enter_namespaces(proc)
    else:
        enter_namespaces(proc)
        change_root(root)
    os.close(proc)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def change_root(root: str) -> None:
    """A root that holds the system's programs and Python's library, read-only, and nothing of anybody."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("sandbox", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    sources = [path for path in ("/usr", "/lib", "/lib64", "/lib32") if os.path.exists(path)]
    sources += [sys.base_prefix] if not sys.base_prefix.startswith("/usr") else []
    for source in sources:
        if os.path.islink(source):
            os.symlink(os.readlink(source), root + source)
            continue
        os.makedirs(root + source)
        mount(source, root + source, "", MS_BIND | MS_REC)
    os.makedirs(f"{root}/dev")
    for device in DEVICES:
        with open(f"{root}/dev/{device}", "w"):
            pass
        mount(f"/dev/{device}", f"{root}/dev/{device}", "", MS_BIND)
    for name in ("tmp", "old"):
        os.mkdir(f"{root}/{name}")
    os.chdir(root)
    call("pivot_root", libc.syscall(SYS_PIVOT_ROOT, b".", b"old"))
    os.chdir("/")
    call("umount", libc.umount2(b"/old", MNT_DETACH))
    os.rmdir("/old")
    read_only("/")


def run(request: Request) -> Request:
    """Runs one program and says how it ended."""
    output_read, output_write = os.pipe()
    proof_read, proof_write = os.pipe()
    name_read, name_write = os.pipe()
    proof = secrets.token_bytes(16)
    began = time.monotonic()
    keeper = os.fork()
    if keeper == 0:
        keep(request, output_write, proof_write, name_write, proof)
    for descriptor in (output_write, proof_write, name_write):
        os.close(descriptor)
    name = os.read(name_read, 16)
    output, status = watch(output_read, request, began, int(name) if name else 0)
    found = os.read(proof_read, 64) if select.select([proof_read], [], [], 0)[0] else b""
    code = os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    for descriptor in (output_read, proof_read, name_read):
        os.close(descriptor)
    if status == "ended":
        status = "passed" if found == proof and code == 0 else "out_of_cpu" if code == 100 + signal.SIGXCPU else "failed"
    return {"status": status, "code": code, "output": output.decode(errors="replace"), "seconds": time.monotonic() - began}


def watch(output_read: int, request: Request, began: float, program: int) -> tuple[bytes, str]:
    """The program's output until it ends, or until it is stopped for taking too long or writing too much."""
    output, status = b"", "ended"
    while True:
        left = began + request["wall_s"] - time.monotonic()
        if left <= 0 or not select.select([output_read], [], [], left)[0]:
            status = "timeout"
            break
        piece = os.read(output_read, 65536)
        if not piece:
            break
        output += piece
        if len(output) > request["output_bytes"]:
            output, status = output[: request["output_bytes"]], "too_much_output"
            break
    if status != "ended" and program:
        with contextlib.suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)  # the first process of its own space: all others go with it
    return output, status


def keep(request: Request, output: int, proof_write: int, name_write: int, proof: bytes) -> None:
    """The process between: makes the process space, tells the program's number, and passes its end on."""
    code = 99
    try:
        call("unshare", libc.unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS))
        program = os.fork()
        if program == 0:
            become(request, output, proof_write, proof)
        os.write(name_write, str(program).encode())
        for descriptor in (output, proof_write, name_write):
            os.close(descriptor)
        ended = os.waitpid(program, 0)[1]
        code = 100 + os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else os.WEXITSTATUS(ended)
    finally:
        os._exit(code)


def become(request: Request, output: int, proof_write: int, proof: bytes) -> None:
    """The program's own process: its limits, its filter, then its code. It has passed when its last line was reached."""
    code = 1
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={request['disk_bytes']},mode=777,nr_inodes=1024")
        os.chdir("/tmp")
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        proof_at = os.dup2(proof_write, 3)
        os.closerange(4, 4096)
        cpu = int(request["cpu_s"]) + 1
        for limit, value in (
            (resource.RLIMIT_AS, request["memory_bytes"]),
            (resource.RLIMIT_CPU, cpu),
            (resource.RLIMIT_NPROC, request["processes"]),
            (resource.RLIMIT_FSIZE, request["disk_bytes"]),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
        ):
            resource.setrlimit(limit, (value, value))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        os.environ.clear()
        sys.modules["random"].seed()
        call("capset", libc.syscall(SYS_CAPSET, struct.pack("Ii", CAP_VERSION_3, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0)))
        FILTER.install(libc)
        sys.argv, sys.path[:] = ["program"], [path for path in sys.path if path.startswith((sys.base_prefix, "/usr"))]
        space = {"__name__": "__main__", "__builtins__": __builtins__}
        exec(compile(request["program"], "program.py", "exec"), space)
        os.write(proof_at, proof)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it raises is its own end, and printed
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Sets up, says so, and serves programs until its input ends."""
    for name in USUAL.split():
        importlib.import_module(name)
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    try:
        enter(sys.argv[1])
        answers.write(json.dumps({"ready": True}) + "\n")
    except OSError as error:
        answers.write(json.dumps({"ready": False, "reason": str(error)}) + "\n")
        return
    finally:
        answers.flush()
    for line in requests:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    FILTER = __import__("filter")
    sys.path.pop(0)
    main()
