"""Checkpoints: cards and weights on disk, copied and proven, the authors' weights in and out."""
