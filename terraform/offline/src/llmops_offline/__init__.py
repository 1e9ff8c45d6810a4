"""Terraform against a simulated AWS."""
