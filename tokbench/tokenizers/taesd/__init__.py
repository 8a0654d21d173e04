"""TAESD: tiny autoencoders that stand in for those of diffusion models, latents already normalised."""
