"""SoftVQ-VAE: transformers around a short sequence of mixtures of codes."""
