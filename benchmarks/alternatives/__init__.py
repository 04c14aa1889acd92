"""The methods that one-shot learning is compared with, one file each behind the protocol of `alternatives.protocol`."""
