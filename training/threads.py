"""How many threads: answers take one, because they are small, and what is fitted asks for more by itself.

A second thread that waits for a busy core costs more than it brings: the product of 12,000 x 64 numbers with a vector took 0.1 ms on one thread and
2.3 ms on two beside other work.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


def one() -> None:
    """From here on PyTorch and BLAS use one thread."""
    torch.set_num_threads(1)
    threadpool_limits(1, "blas")


@contextmanager
def every() -> Iterator[None]:
    """BLAS uses all cores inside, for factorising a large matrix."""
    with threadpool_limits(os.cpu_count() or 1, "blas"):
        yield
