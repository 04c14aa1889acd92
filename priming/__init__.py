"""The outer loop, offline: from recordings to the primed weights that a device starts from."""
