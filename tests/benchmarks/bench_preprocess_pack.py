"""Packing: fill, documents that fit and are cut, and documents per CPU-second.

python tests/benchmarks/bench_preprocess_pack.py [DOCUMENTS]
"""

import sys
import time

import numpy as np

from llmops_preprocess.pack import pack

CAPACITY = 2048


def main() -> None:
    """Prints one line. Lengths as of short documents, every one of which fits."""
    documents = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    lengths = np.random.default_rng(0).gamma(2.0, 120.0, size=documents).astype(np.int64).clip(1, CAPACITY)
    started = time.process_time()
    sequences = pack(lengths, CAPACITY)
    seconds = time.process_time() - started
    fill = lengths.sum() / (len(sequences) * CAPACITY)
    cut = documents - len({position for sequence in sequences for position in sequence})
    print(f"{documents} documents: fill {100 * fill:.3f} %, {cut} cut, {documents / seconds:,.0f} documents a CPU-second")


if __name__ == "__main__":
    main()
