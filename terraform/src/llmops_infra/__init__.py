"""The infrastructure on AWS: two stacks, one YAML per environment, plain Terraform to apply."""
