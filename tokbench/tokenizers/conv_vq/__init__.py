"""What VQ-VAE, VQGAN, LlamaGen and their kin share."""
