"""VQGAN+ and MaskBit: MaskGIT's network with codes of a codebook, or of signs."""
