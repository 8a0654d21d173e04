"""Infinity: codes of signs, map by map from coarse to fine."""
