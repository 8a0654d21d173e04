"""TiTok: a vision transformer that writes an image into a short sequence of tokens."""
