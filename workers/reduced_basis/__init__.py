"""Bands on a dense grid without a plane-wave calculation at every k-point.

A few k-points are solved in plane waves, here; the periodic parts of their states span the bands of all
others. Which k-points are needed is found while going, by the error that was measured at the next one.

Shirley, Phys. Rev. B 54, 16464 (1996); Prendergast and Louie, Phys. Rev. B 80, 235126 (2009); greedy
choice of samples: Hesthaven, Rozza, Stamm, Certified Reduced Basis Methods (Springer 2016).
"""
