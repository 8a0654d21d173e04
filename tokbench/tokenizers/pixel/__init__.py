"""Pixels as tokens: every pixel one colour of a palette, or its three bytes."""
