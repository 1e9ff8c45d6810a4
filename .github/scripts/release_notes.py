"""The changelog's section of a version: release_notes.py v1.2.3. Fails where there is none, or where the packages say another version."""
# ruff: noqa: T201 - what these scripts print is what the workflow reads

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Prints the section."""
    version = sys.argv[1].removeprefix("v")
    for path in sorted(
        [*ROOT.glob("shared/pyproject.toml"), *ROOT.glob("services/*/pyproject.toml"), *ROOT.glob("terraform/pyproject.toml")]
    ):
        found = tomllib.loads(path.read_text())["project"]["version"]
        if found != version:
            sys.exit(f"{path.relative_to(ROOT)} says version {found}, the tag {version}")
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    section = next((text for text in sections if re.match(rf"\[?{re.escape(version)}\b", text)), None)
    if section is None:
        sys.exit(f"CHANGELOG.md has no section of {version}: name it there in place of Unreleased")
    print(section.partition("\n")[2].strip())


if __name__ == "__main__":
    main()
