"""Joint training: what methods are measured against."""

from sats_core.methods.base_step import BaseStep


class Joint(BaseStep):
    """Cross-entropy on pictures that are labelled for all classes at once.

    Its loss is a base step's; what sets it apart is its data, which a service that keeps no old
    pictures does not have. Benchmarks run it, the service does not offer it.
    """
