"""Every claim of the documents, measured from the shipped weights: ``python -m benchmarks.evidence``."""
