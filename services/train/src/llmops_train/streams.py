"""stdout carries the document alone: what libraries and the compilers they start print goes to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def chatter_on_stderr() -> Iterator[None]:
    """Within it, what is written to stdout, also by child processes, goes to stderr. DeepSpeed logs and compiles on stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
