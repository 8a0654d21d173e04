"""Deep compression autoencoders by the names they are published under, built by the library diffusers."""
