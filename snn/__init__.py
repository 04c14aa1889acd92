"""Spiking networks: cells, recurrent network, e-prop, learning-signal generator. Pure torch; nothing here reads or writes a file."""
