"""l-DeTok: transformers around latents that were trained to be denoised."""
