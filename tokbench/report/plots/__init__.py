"""Plots of records: what they show, in data.py and its neighbours, and how paper draws it; the page has its own drawing."""
