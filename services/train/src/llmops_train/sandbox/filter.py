"""The seccomp filter of a program: what Python needs to compute and nothing else. Standard library only: runs inside the sandbox.

Numbers are those of Linux on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl); the filter kills calls of any other architecture.
"""

import ctypes
import errno
import struct

ALLOWED = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "readv": 19,
    "writev": 20, "access": 21, "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25, "msync": 26, "mincore": 27, "madvise": 28,
    "dup": 32, "dup2": 33, "pause": 34, "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39, "socketpair": 53,
    "exit": 60, "wait4": 61, "uname": 63, "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77,
    "getdents": 78, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "unlink": 87,
    "readlink": 89, "chmod": 90, "fchmod": 91, "umask": 95, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99,
    "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115,
    "getresuid": 118, "getresgid": 120, "getpgid": 121, "getsid": 124, "rt_sigpending": 127, "rt_sigtimedwait": 128,
    "rt_sigsuspend": 130, "sigaltstack": 131, "utime": 132, "statfs": 137, "fstatfs": 138, "getpriority": 140, "arch_prctl": 158,
    "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "epoll_create": 213, "getdents64": 217, "set_tid_address": 218,
    "restart_syscall": 219, "fadvise64": 221, "timer_create": 222, "timer_settime": 223, "timer_gettime": 224, "timer_getoverrun": 225,
    "timer_delete": 226, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232,
    "epoll_ctl": 233, "tgkill": 234, "utimes": 235, "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
    "readlinkat": 267, "fchmodat": 268, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "get_robust_list": 274,
    "utimensat": 280, "epoll_pwait": 281, "timerfd_create": 283, "eventfd": 284, "fallocate": 285, "timerfd_settime": 286,
    "timerfd_gettime": 287, "eventfd2": 290, "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295, "pwritev": 296,
    "prlimit64": 302, "getcpu": 309, "renameat2": 316, "getrandom": 318, "membarrier": 324, "copy_file_range": 326, "statx": 332,
    "rseq": 334, "close_range": 436, "faccessat2": 439,
}  # fmt: skip
IOCTL, IOCTLS = 16, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
CLONE, CLONE3 = 56, 435
CLONE_THREAD, CLONE_NEW_ANYTHING = 0x10000, 0x7E020000

X86_64, X32 = 0xC000003E, 0x40000000
LOAD, EQUAL, AT_LEAST, BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, REFUSE, MISSING = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # where seccomp_data holds them

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


def instructions() -> list[tuple[int, int, int, int]]:
    """The filter: (code, jump if true, jump if false, constant)."""
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, KILL)]
    program += [(LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, REFUSE)]
    # the C library takes the older clone when clone3 is missing, whose flags a filter can see: threads yes, processes no
    program += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, MISSING)]
    program += [(EQUAL, 0, 6, CLONE), (LOAD, 0, 0, FIRST), (BITS, 2, 0, CLONE_NEW_ANYTHING), (BITS, 0, 1, CLONE_THREAD)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE), (LOAD, 0, 0, NUMBER)]
    program += [(EQUAL, 0, len(IOCTLS) * 2 + 2, IOCTL), (LOAD, 0, 0, SECOND)]
    for request in IOCTLS:
        program += [(EQUAL, 0, 1, request), (RETURN, 0, 0, ALLOW)]
    program += [(RETURN, 0, 0, REFUSE)]
    for number in ALLOWED.values():
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    return [*program, (RETURN, 0, 0, REFUSE)]


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install(libc: ctypes.CDLL) -> None:
    """Puts this process under the filter for good. Raises OSError when the kernel has no seccomp."""
    packed = b"".join(struct.pack("HBBI", *one) for one in instructions())
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = Program(len(packed) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "seccomp")
