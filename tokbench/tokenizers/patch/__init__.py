"""Patches as tokens: nearest of a k-means codebook of raw patches, the baseline a learned tokenizer has to beat."""
