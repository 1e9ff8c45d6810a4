"""Published benchmarks by EleutherAI's lm-evaluation-harness, from local files or the hub."""
