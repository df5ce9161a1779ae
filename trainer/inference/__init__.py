"""A checkpoint, asked: spectra, similarities, what to compute next."""
