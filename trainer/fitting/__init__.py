"""Fits and refits: from spectra to a promoted checkpoint."""
