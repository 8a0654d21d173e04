"""Cosmos-Tokenizer on images: VQGAN's network on a Haar transform, with latents (CI) or finite scalar codes (DI)."""
