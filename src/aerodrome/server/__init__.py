"""The control plane: the composition root. The only wide importer."""
