"""Train: from a DatasetManifest to a TrainingRun, its evaluation Report and a ModelPackage."""
