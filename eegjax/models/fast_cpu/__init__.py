"""Convolutions and pools in forms that XLA compiles well for a CPU: the same mathematics, other loops.

XLA's own forms stay everywhere else. Which form runs is decided in `eegjax.models.operations` alone; each form here is
measured by `launch/benchmark.py --operations`, and none is kept that gains less than 15 %.
"""
