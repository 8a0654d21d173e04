"""Image sources: the embedded photos, folders, archives, tables and hub data sets, all as upright RGB."""
