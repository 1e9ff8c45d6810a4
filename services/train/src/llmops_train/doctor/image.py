"""What network stack an image has: read from its Dockerfile, or from inside it."""

import re
from collections.abc import Mapping
from pathlib import Path

from llmops_shared.errors import LlmopsError
from llmops_train.doctor.finding import Finding
from llmops_train.doctor.versions import Stack, check_stack, version_of

ASSIGNMENT = re.compile(r"""(?P<name>\w+)=(?P<value>"[^"]*"|'[^']*'|\S+)""")


def lint_dockerfile(path: str) -> list[Finding]:
    """Findings about a Dockerfile. Raises LlmopsError when it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LlmopsError(f"dockerfile {path}: cannot be read ({error})") from error
    arguments, environment = variables(text)
    named = {name: version_of(value) for name, value in arguments.items()}
    stack = Stack(
        efa=next((version for name, version in named.items() if version and "EFA" in name and "VERSION" in name), None),
        nccl=next((version for name, version in named.items() if version and re.match(r"(LIB)?NCCL_\w*VER", name)), None),
        ofi=next((version for name, version in named.items() if version and "OFI" in name), None),
        environment=environment,
    )
    return [*check_stack(stack, path), *check_bases(text, path)]


def variables(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """ARG and ENV together, and what the last stage sets by ENV."""
    arguments: dict[str, str] = {}
    environment: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM":
            environment = {}
        if word.upper() in ("ARG", "ENV"):
            found = {match["name"]: expand(match["value"].strip("\"'"), arguments) for match in ASSIGNMENT.finditer(rest)}
            arguments |= found
            environment |= found if word.upper() == "ENV" else {}
    return arguments, environment


def expand(value: str, known: Mapping[str, str]) -> str:
    """`${NAME}` and `$NAME` by what is known."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], match[0]), value)


def check_bases(text: str, where: str) -> list[Finding]:
    """Findings about base images that may change under the image."""
    stages = set(re.findall(r"^FROM\s+\S+\s+AS\s+(\S+)", text, re.M | re.I))
    arguments, _ = variables(text)
    named = (expand(base, arguments) for base in re.findall(r"^FROM\s+(?:--\S+\s+)*(\S+)", text, re.M | re.I))
    bases = list(dict.fromkeys(base for base in named if base not in stages))
    loose = [
        base for base in bases if not base.startswith("$") and "@sha256:" not in base and (":" not in base or base.endswith(":latest"))
    ]
    return [Finding("base_image", f"{where}: {base} may be another image tomorrow", "name a version or a digest") for base in loose]


def lint_inside(root: str, environment: Mapping[str, str]) -> list[Finding]:
    """Findings about an image from inside: what its installers left behind."""
    place = Path(root)
    installed = place / "opt/amazon/efa_installed_packages"
    text = installed.read_text() if installed.is_file() else ""
    libraries = sorted(path.name for folder in ("usr", "opt") for path in (place / folder).rglob("libnccl.so.*.*.*"))
    wheels = sorted(path.name for folder in ("usr", "opt") for path in (place / folder).rglob("nvidia_nccl_*.dist-info"))
    plugins = sorted(str(path) for folder in ("usr", "opt") for path in (place / folder).rglob("libnccl-net*.so*"))
    first = re.search(r"EFA installer version: (\S+)", text)
    ofi = re.search(r"aws-ofi-nccl\S*?[ =_-]+(\d+(?:\.\d+)+)", text)
    stack = Stack(
        efa=version_of(first[1]) if first else None,
        # torch loads the one of its wheel
        nccl=version_of((wheels or libraries or [""])[-1].partition("-" if wheels else ".so.")[2]),
        ofi=version_of(ofi[1]) if ofi else ((0, 0) if plugins else None),
        environment=environment,
    )
    return check_stack(stack, root)
