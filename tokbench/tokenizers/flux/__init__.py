"""The autoencoder of FLUX.2, continuous latents in squares, with the statistics that normalise them among its weights."""
