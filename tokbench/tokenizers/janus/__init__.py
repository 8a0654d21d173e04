"""Janus: LlamaGen's tokenizer within a model that understands and draws."""
