"""Tokenizing: our fast path and `tokenizers`, one thread, the same texts, alternating; CPU-seconds.

python tests/benchmarks/bench_preprocess_tokenize.py [MEGABYTES]
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pydoc_data.topics import topics

import tokenizers

from llmops_preprocess.fast_bpe import fast_encoder
from llmops_preprocess.tokenizer import train_tokenizer

ROUNDS = 5


def main() -> None:
    """Prints the ratio of medians and the number of different ids."""
    text = list(topics.values())
    size = sum(len(item.encode()) for item in text)
    texts = text * max(1, int(float(sys.argv[1]) * 1e6 / size)) if len(sys.argv) > 1 else text * 4
    megabytes = sum(len(item.encode()) for item in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        train_tokenizer(text, 16_000, Path(folder))
        engine = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    started = time.process_time()
    fast = fast_encoder(engine)
    proof_s = time.process_time() - started
    assert fast is not None
    peer_s, ours_s, different = [], [], 0
    for _ in range(ROUNDS):
        started = time.process_time()
        theirs = [item.ids for item in engine.encode_batch_fast(texts, add_special_tokens=False)]
        peer_s.append(time.process_time() - started)
        started = time.process_time()
        ours = [fast(item) for item in texts]
        ours_s.append(time.process_time() - started)
        different += sum(one != other for one, other in zip(ours, theirs, strict=True))
    ratio = median(peer / mine for peer, mine in zip(peer_s, ours_s, strict=True))
    print(
        f"{megabytes:.1f} MB: tokenizers {megabytes / median(peer_s):.1f} MB/cpu-s, ours {megabytes / median(ours_s):.1f} MB/cpu-s, "
        f"{ratio:.1f}x; {different} texts with different ids; proof {proof_s:.2f} s"
    )


if __name__ == "__main__":
    main()
