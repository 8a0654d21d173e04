"""The discrete VAE of DALL-E: residual blocks without normalisation, and codes by score."""
