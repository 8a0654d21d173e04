"""Exported tokens in the layouts of trainers: one step over the shards, which writes a folder beside them."""

FORMAT_NAMES = ("sequences", "megatron", "datatrove", "bin", "litdata", "llamagen", "rar", "latents")
"""All formats, here so that commands can name them without loading what writes them."""
