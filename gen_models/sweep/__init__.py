"""Sweeps: variants times seeds, trained together where that is faster, and what can be concluded from them."""
