"""How many threads PyTorch may use: programs call this once, the library never does when it is imported."""

import os


def limit_threads() -> int:
    """Leaves half of the cores to others; OMP_NUM_THREADS, where the user has set it, is kept.

    Two busy threads on two busy cores are many times slower than one.

    Returns:
        The number of threads that PyTorch uses now.
    """
    import torch

    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    return torch.get_num_threads()
