"""NEST as a place where a primed network runs and learns, and as an independent oracle of e-prop; inside, `import nest` means the simulator."""
