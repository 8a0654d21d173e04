"""What VQ-VAE, VQGAN, LlamaGen, MaskGIT and MaskBit share."""
