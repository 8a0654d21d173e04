"""VQ-VAE: a convolutional autoencoder around a codebook, trained on squared error."""
