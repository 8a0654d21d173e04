"""BSQ-ViT: transformers around the signs of vectors on a sphere."""
