"""Held-out pictures with truth and predictions, as FiftyOne opens them."""
