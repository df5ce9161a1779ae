"""What exists and what runs next: crystals, protocols, jobs, the backlog and the store.

This package imports neither Quantum ESPRESSO code nor torch.
"""

__version__ = "0.1.0"
