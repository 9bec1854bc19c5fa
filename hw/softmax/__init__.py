"""Softmax: logits of a MAC to probabilities, running maxima and totals, the division behind the product with V."""
