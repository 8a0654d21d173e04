"""Image autoencoders of the library diffusers, from the folders its ``save_pretrained`` writes."""
