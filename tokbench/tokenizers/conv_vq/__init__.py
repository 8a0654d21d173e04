"""What VQ-VAE, VQGAN and LlamaGen share."""
