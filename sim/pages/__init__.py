"""Runs as pictures: charts, and the pages and images that show them."""
