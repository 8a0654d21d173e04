"""Wan's autoencoders of video on stills, continuous latents."""
