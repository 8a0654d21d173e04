"""VQGAN: VQ-VAE's network with attention, trained with perceptual and adversarial losses."""
