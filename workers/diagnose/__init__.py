"""`farm diagnose`: what the QE and YAMBO runs of any directory are worth."""
