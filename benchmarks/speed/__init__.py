"""The parts of benchmarks/speed.py: how time and memory are measured, and one module for each comparison."""
