"""Python objects as a source: DataFrames, Arrow tables, iterators, functions of the last value."""
