"""Whole networks: network file, checkpoint, number formats, lowering, one program."""
