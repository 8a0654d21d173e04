"""Emu3's vision tokenizer: a MoVQ autoencoder for video, on stills, with one codebook."""
