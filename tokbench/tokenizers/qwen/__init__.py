"""Qwen-Image's autoencoder, which is Wan 2.1's network with weights of its own."""
