"""Area, clock, speed and energy of a core without synthesis."""
