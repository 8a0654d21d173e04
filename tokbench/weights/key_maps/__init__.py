"""Parameter names of published weight files, turned into the names of ``tokbench.nn.autoencoder``."""
