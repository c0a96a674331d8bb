"""Tests of conduit and iceframe."""
