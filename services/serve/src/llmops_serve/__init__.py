"""Serve: Endpoint documents, and the HTTP server that realizes one."""
