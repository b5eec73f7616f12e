"""Joint training: what methods are measured against."""

from sats_core.methods.finetune import Finetune


class Joint(Finetune):
    """Cross-entropy on pictures that are labelled for all classes at once.

    Its loss is fine-tuning's; what sets it apart is its data, which a service that keeps no old
    pictures does not have. Benchmarks run it, the service does not offer it.
    """
