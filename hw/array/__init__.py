"""The butterfly array: engines on one coefficient broadcast, and what feeds, controls and empties them."""
