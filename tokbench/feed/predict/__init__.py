"""Figures that may tell how well models generate from tokens, without a model of them; one file a study."""
