"""One folder per connector, and the registry that names them. Nothing outside imports a connector directly."""
