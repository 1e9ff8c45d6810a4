"""The packages whose tests a change concerns, as a JSON list: changed.py BASE HEAD. Needs nothing but Python and git."""
# ruff: noqa: T201 - what these scripts print is what the workflow reads

import json
import subprocess
import sys
from collections.abc import Iterable

PACKAGES = ("shared", "preprocess", "train", "serve", "monitor", "infra")
# what all packages rest on: the shared package, the environment, and what tests share
EVERYTHING = (
    "shared/",
    "constraints.txt",
    "pyproject.toml",
    "Makefile",
    "tests/support/",
    ".ci/",
    ".github/actions/setup/",
    ".github/workflows/ci.yml",
)
OF_ONE = (
    {f"services/{name}/": name for name in PACKAGES[1:5]}
    | {f"tests/unit/{name}/": name for name in PACKAGES}
    | {"terraform/": "infra", "tests/infra/": "infra"}
)


def packages_of(paths: Iterable[str]) -> list[str]:
    """The packages, in their order; a page of documentation concerns none, anything unknown concerns all."""
    found: set[str] = set()
    for path in paths:
        if path.endswith((".md", ".png")):
            continue
        name = next((package for prefix, package in OF_ONE.items() if path.startswith(prefix)), None)
        if name:
            found.add(name)
        elif path.startswith(EVERYTHING) or not path.startswith(
            (".github/", "loop.sh", "tests/contract/", "tests/e2e/", "tests/benchmarks/")
        ):
            return list(PACKAGES)
    return [name for name in PACKAGES if name in found]


def main() -> None:
    """Prints the list."""
    base, head = sys.argv[1:3]
    # three dots: what the branch changed, not what main changed meanwhile
    done = subprocess.run(["git", "diff", "--name-only", f"{base}...{head}"], check=True, capture_output=True, text=True)
    print(json.dumps(packages_of(done.stdout.splitlines())))


if __name__ == "__main__":
    main()
