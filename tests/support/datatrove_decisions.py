"""What datatrove's own filters decide of a thousand pieces of Python's reference: makes the file that ours are held against.

PYTHON_OF_DATATROVE tests/support/datatrove_decisions.py > tests/unit/preprocess/datatrove_decisions.json

Needs an environment of its own with `datatrove[processing]` and `spacy`, whose pins clash with the project's. The file keeps a digest
of each piece, for another Python has other words in its reference: pieces that changed are not compared.
"""

import hashlib
import json
import sys
from collections.abc import Iterator

FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


def pieces() -> Iterator[str]:
    """Whole topics, stretches of paragraphs of several lengths, some said twice, and lines without their ends."""
    from pydoc_data.topics import topics

    for number, name in enumerate(sorted(topics)):
        text = topics[name].strip()
        yield text
        paragraphs = text.split("\n\n")
        for size in (2, 6, 15):
            stretches = ["\n\n".join(paragraphs[first : first + size]) for first in range(0, len(paragraphs), size)]
            kept = [stretch for stretch in stretches if len(stretch) > 80][:6]
            yield from kept
            yield from ("\n".join(stretch.split(". ")) for stretch in kept[:1])
            yield from (f"{stretch}\n\n{stretch}" for stretch in kept[1:2] if number % 3 == 0)
            yield from (" ".join(stretch.split()) for stretch in kept[2:3])


def digest(text: str) -> str:
    """Tells a piece from all others."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decide() -> dict[str, list[object]]:
    """Of each piece, by its digest: kept or not by each filter, and what C4 left of it."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    filters = (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=True), FineWebQualityFilter())
    found: dict[str, list[object]] = {}
    for text in pieces():
        verdicts = list[object]()
        for item in filters:
            document = Document(text=text, id="x")
            kept = item.filter(document)
            verdicts.append(kept is True)
            if isinstance(item, C4QualityFilter):
                left = digest(" ".join(document.text.split()))
        found[digest(text)] = [*verdicts, left]
    return found


if __name__ == "__main__":
    from importlib.metadata import version

    sys.stdout.write(json.dumps({"datatrove": version("datatrove"), "python": sys.version.split()[0], "decisions": decide()}) + "\n")
