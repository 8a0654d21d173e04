"""VTP: a transformer that was trained to understand and to reconstruct at once, behind few latents."""
