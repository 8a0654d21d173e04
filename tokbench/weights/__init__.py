"""From a name, path, hub id or URL to checked tensors."""
