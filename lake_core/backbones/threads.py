"""How many threads a process may compute with.

Programs call `limit_threads` once; the library never does when it is imported.
"""

import os
from functools import cache


def limit_threads() -> int:
    """Leaves half of the cores to others; OMP_NUM_THREADS, where the user has set it, is kept.

    Two busy threads on two busy cores are many times slower than one. That holds for PyTorch and for NumPy's matrix
    products alike: next to another busy process a product of 200 x 24 by 24 x 24 took 30 ms instead of 0.1 ms.

    Returns:
        The number of threads that PyTorch uses now.
    """
    import torch
    from loky import cpu_count  # of the cores that this process may use, in a container too

    if not os.environ.get("OMP_NUM_THREADS"):
        n_threads = max(1, cpu_count() // 2)
        torch.set_num_threads(n_threads)
        _limit_matrix_products(n_threads)
    return torch.get_num_threads()


@cache
def _limit_matrix_products(n_threads: int) -> None:
    """Limits the libraries behind NumPy and SciPy; looking for them takes too long to do it more than once."""
    import scipy.linalg  # noqa: F401 (brings its own library, which must be loaded to be found)
    from threadpoolctl import threadpool_limits

    threadpool_limits(n_threads, user_api="blas")
