"""Networks without I/O, names or losses of their own."""
