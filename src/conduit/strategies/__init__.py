"""How a commit changes a table: append, merge, replace - one file each, as SQL that every dialect shares.

Connectors bring rows to a stage table in their own transaction and run the statements of a strategy there.
"""
