"""Runnable measurements: each compares with a real peer or bound on the same input and prints a ratio."""
