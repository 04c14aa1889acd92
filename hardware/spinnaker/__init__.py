"""Chip in the loop: a chip runs the spiking network, the host replays its spikes, learns, and reloads it. SpiNNaker through PyNN is such a chip."""
