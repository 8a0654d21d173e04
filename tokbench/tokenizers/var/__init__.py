"""VAR: a VQGAN whose codes are maps from coarse to fine, each of what those before it left over."""
