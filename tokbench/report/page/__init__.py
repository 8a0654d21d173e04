"""The report as one HTML page: tables, plots, pictures and everything that stands behind the figures."""
