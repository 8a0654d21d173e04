"""Vectors to codes and back, with the losses that train them."""
