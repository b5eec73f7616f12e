"""What every method shares that distils the old model by gradient descent."""

from sats_core.methods.finetune import Finetune
from sats_core.methods.method import WithTeacher


class Distilled(WithTeacher, Finetune):
    """A method that distils the model before the step, its teacher, into the one that learns."""
