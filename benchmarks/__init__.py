"""Measurements of damselfly beside something known: ``python -m benchmarks``; see README.md."""
