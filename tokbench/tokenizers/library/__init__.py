"""Tokenizers that another library builds: their configuration, their folders, and the adapter to this package's interface."""
