"""Generators of malformed input: each module makes the cases of one kind, `case` says what a case is."""
