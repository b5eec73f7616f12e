"""The HTTP service. It holds no torch: it serves exported graphs and hands training to a worker."""
