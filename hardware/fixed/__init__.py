"""SpiNNaker's arithmetic on this computer: what a chip would decide, bit for bit, learning included."""
