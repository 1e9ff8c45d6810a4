"""How the processes of a run are started: by torchrun on this machine, or as a SageMaker training job."""
