"""MaskGIT's VQGAN: convolutions alone, 1024 codes."""
