"""What a serving container is told, derived from the facts of a package and the instance it runs on: one derivation for all."""
