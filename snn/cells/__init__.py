"""Neuron cells: one file per cell, each a pure step, its eligibility traces, and their factorised form."""
