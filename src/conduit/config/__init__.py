"""ingest.yml -> typed models, with file:line in every error. The door is `load.load`; the models are in `models`.

Nothing is imported here: connectors import `models`, and `load` imports the registry of connectors.
"""
