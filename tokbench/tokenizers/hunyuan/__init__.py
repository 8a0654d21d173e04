"""HunyuanImage's autoencoder, continuous latents."""
