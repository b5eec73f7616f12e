"""What the processes that share a step's batches do together; one that is alone does nothing.

Every loss term is a mean over a batch's pictures (`Finetune.loss_terms`). So the gradient of a
batch is the sum of its shares' gradients, each times its part of the pictures, however unequal the
shares are: `SeveralRanks` trains to the weights that one process would.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sats_core.training.shared_norm import share_batch_norm, total_of

PATIENCE = timedelta(minutes=30)
"""How long one rank waits for another that neither answers nor dies."""

_T = TypeVar("_T")

Forward = Callable[[Tensor, Tensor], Mapping[str, Tensor]]
"""From pictures and labels to loss terms, as `Finetune.loss_terms`."""


class Ranks:
    """One process that trains alone: what is asked of all is asked of it.

    Attributes:
        number: of this process; 0 leads: it writes, decides and is listened to.
        count: of all processes.
    """

    number = 0
    count = 1

    @property
    def leads(self) -> bool:
        """Whether this one writes checkpoints."""
        return self.number == 0

    @property
    def beside(self) -> int:
        """How many processes share one memory."""
        return 1

    def own(self, pictures: int) -> slice:
        """Return which of a batch's pictures are this one's; shares differ by one at most."""
        first, end = (pictures * number // self.count for number in (self.number, self.number + 1))
        return slice(first, end)

    def every(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield this one's share of what each could see all of."""
        return islice(items, self.number, None, self.count)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of everybody's tensors, the same to the last bit for everybody."""
        return tensor

    def least(self, number: int) -> int:
        """Return the least of everybody's numbers."""
        return number

    def agree(self, said: bool) -> bool:
        """Return whether everybody says so."""
        return bool(self.least(said))

    def same(self, number: int) -> int:
        """Return a number that is everybody's.

        Raises:
            RuntimeError: it is not.
        """
        if self.least(number) != number or -self.least(-number) != number:
            raise RuntimeError(f"rank {self.number} has {number}, another something else")
        return number

    def joined(self, model: nn.Module, forward: Forward) -> Forward:
        """Return what `forward` is when the model's gradients are everybody's together.

        Weights become the leader's; norms that learn statistics take them of the whole batch.
        """
        del model
        return forward

    def meeting(self, last: bool) -> AbstractContextManager[None]:
        """Return what one part of a batch is computed in; at the last one gradients are summed."""
        del last
        return nullcontext()


ALONE = Ranks()


class SeveralRanks(Ranks):
    """One of several processes, each with a device of its own (or all on the processor)."""

    def __init__(self, number: int, count: int, device: torch.device) -> None:
        """Take part; the process group is there already (`joined_group`)."""
        self.number = number
        self.count = count
        self._device = device
        self._joined: DistributedDataParallel | None = None

    @property
    def beside(self) -> int:
        """See `Ranks.beside`."""
        return self.count if self._device.type == "cpu" else 1

    def total(self, tensor: Tensor) -> Tensor:
        """See `Ranks.total`."""
        return total_of(tensor)

    def least(self, number: int) -> int:
        """See `Ranks.least`."""
        # On the processor: nobody waits for an accelerator to say a word.
        least = torch.tensor(int(number))
        dist.all_reduce(least, dist.ReduceOp.MIN)
        return int(least)

    def joined(self, model: nn.Module, forward: Forward) -> Forward:
        """See `Ranks.joined`."""
        share_batch_norm(model)
        with warnings.catch_warnings():
            # torch 2.13 calls the setting otherwise, older ones know it by this name alone.
            warnings.simplefilter("ignore", FutureWarning)
            # Statistics are everybody's already; a broadcast at every pass would bring nothing.
            self._joined = DistributedDataParallel(
                _Terms(model, forward), broadcast_buffers=False, gradient_as_bucket_view=True
            )
        return self._joined

    def meeting(self, last: bool) -> AbstractContextManager[None]:
        """See `Ranks.meeting`."""
        if last or self._joined is None:
            return nullcontext()
        return self._joined.no_sync()


class _Terms(nn.Module):
    """Loss terms as a module, whose parameters are the trained model's and not the teacher's."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self._terms = forward

    def forward(self, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return dict(self._terms(pictures, labels))


@contextmanager
def joined_group(number: int, count: int, store: Path) -> Iterator[Ranks]:
    """Meet the other processes and take part until the end of the block.

    Args:
        number: of this process, below `count`.
        count: of processes.
        store: file that they find each other by; in a folder that is all theirs.
    """
    device = torch.device("cuda", number) if torch.cuda.is_available() else torch.device("cpu")
    cuda, threads = device.type == "cuda", torch.get_num_threads()
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # they are all on this machine
    if cuda:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max(1, threads // count))
    dist.init_process_group(
        # What is said of tensors on the processor goes past the accelerator and its queue.
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=dist.FileStore(str(store), count),  # type: ignore[attr-defined]  # not in its list
        rank=number,
        world_size=count,
        timeout=PATIENCE,
    )
    try:
        yield SeveralRanks(number, count, device)
    finally:
        dist.destroy_process_group()
        torch.set_num_threads(threads)
