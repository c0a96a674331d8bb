"""Rows in memory: a public pair for tests, and Python objects as a source."""
