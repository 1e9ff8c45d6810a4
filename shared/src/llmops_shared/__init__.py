"""What every service of LLMOps on AWS shares: contracts, config, stores, the command line and tracking."""
