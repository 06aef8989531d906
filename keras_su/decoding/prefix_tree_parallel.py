"""Work in background threads, with the results in order.

Threads, not processes: nearly all the time of a build is inside numpy, hashing and file calls, which run side by side in threads
(two sort 1.8 times as fast as one), nothing has to be copied between them, and no backend that is loaded already can be upset.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from keras_su.errors import bad_value

# Fewer bytes of memory a worker than this make runs so small that more workers are no faster.
WORKER_BYTES = 128 * 2**20


def usable_cores():
    """How many cores this process may use."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def number_of_workers(workers, memory):
    """The number asked for; for ``None`` the cores there are, but no more than ``memory`` bytes can keep busy."""
    if workers is None:
        return max(1, min(usable_cores(), int(memory) // WORKER_BYTES))
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise bad_value("PrefixTree: workers", workers, "a positive number of threads, or None for the cores there are")
    return workers


def ordered_map(function, tasks, workers):
    """Iterate over ``function(task)`` in the order of ``tasks``.

    At most ``workers`` tasks are under way or finished and not yet fetched; one more has been taken from ``tasks``, an iterator
    that itself runs in the caller's thread. The first error, of a task or of ``tasks``, ends it all: what has not begun never
    does, and what runs is waited for. With one worker there are no threads.

    >>> list(ordered_map(abs, [-2, 1, -3], workers=2))
    [2, 1, 3]
    """
    if workers == 1:
        for task in tasks:
            yield function(task)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="prefix_tree") as pool:
        begun = deque()
        try:
            for task in tasks:
                if len(begun) == workers:
                    yield begun.popleft().result()
                begun.append(pool.submit(function, task))
                del task  # it may be large, and the worker is done with it before the next comes
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
