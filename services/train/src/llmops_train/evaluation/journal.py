"""Work that survives a stop: every finished batch is an object beside the report until the report is there."""

import hashlib
import json
from typing import Any

from llmops_shared.store import Entry, join, store_for


class Journal:
    """Finished batches of one job. Settings or inputs that change give it other names, so nothing old is ever taken."""

    def __init__(self, out: str, request: object) -> None:
        """`request` is what the results depend on: settings and digests of inputs."""
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        self.out, self.prefix = out, f"progress-{digest[:12]}"
        self.known = {entry.uri for entry in self._entries()}

    def get(self, name: str) -> Any:
        """What was put under this name before; None when nothing was."""
        uri = join(self.out, f"{self.prefix}-{name}.json")
        return json.loads(store_for(uri).read(uri)) if uri in self.known else None

    def put(self, name: str, content: object) -> None:
        """Keeps a finished batch."""
        uri = join(self.out, f"{self.prefix}-{name}.json")
        store_for(uri).write(uri, json.dumps(content, ensure_ascii=False).encode())
        self.known.add(uri)

    def clear(self) -> None:
        """Removes everything, once the report is written."""
        for entry in self._entries():
            store_for(entry.uri).remove(entry.uri)
        self.known.clear()

    def _entries(self) -> list[Entry]:
        start = join(self.out, self.prefix)
        return [entry for entry in store_for(self.out).entries(self.out) if entry.uri.startswith(start)]
