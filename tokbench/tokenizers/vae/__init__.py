"""VAE: a convolutional autoencoder with a Gaussian bottleneck, continuous latents."""
