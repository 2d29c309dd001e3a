"""Seed pages: what the first recall round learns from."""
