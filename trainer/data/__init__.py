"""What is learnt from: sets of spectra, and which part of them measures."""
