"""What software and hardware agree on, bit by bit. Leaves: nothing here knows Amaranth."""
