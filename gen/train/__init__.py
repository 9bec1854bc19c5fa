"""Training scripts (extra ``train``: PyTorch). Nothing else in the package needs them."""
