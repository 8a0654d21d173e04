"""MAETok: transformers around a short sequence of latents, trained to fill masked images."""
