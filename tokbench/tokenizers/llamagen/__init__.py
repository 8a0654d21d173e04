"""LlamaGen: VQGAN's network around a codebook of directions."""
