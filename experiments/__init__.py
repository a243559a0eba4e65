"""One question a file; run as `python -m experiments.NAME`."""
