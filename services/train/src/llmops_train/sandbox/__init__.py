"""A sandbox for generated programs: namespaces, a read-only root, seccomp and limits, or a refusal."""
