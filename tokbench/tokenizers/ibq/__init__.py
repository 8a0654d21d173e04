"""IBQ: VQGAN's network around a large codebook, every row of which is trained at once."""
