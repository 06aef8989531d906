"""A function applied by several processes or threads, with few items on the way at any time."""

import contextlib
import itertools
import multiprocessing
import queue
import random
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np

from keras_su.errors import bad_value


def parallel_apply(func, iterable, workers, max_queue_size, callback=None, dummy=False, random_seeds=True, unordered=True):
    """Apply a function to every item, by several processes at once.

    Args:
        func: function of one item. Where processes are forked (Linux) it may be a lambda or a closure and sees what was in memory
            when the call began; elsewhere it must be importable. It should not call Keras: a forked process cannot use the
            threads and the accelerator of its parent.
        iterable: the items; a generator is read only as fast as items are worked on.
        workers: number of processes.
        max_queue_size: most items that wait, beside one for each worker.
        callback: function that is called with each result, in this process. Nothing is returned then.
        dummy: threads instead of processes.
        random_seeds: how processes seed ``numpy.random`` and ``random``: ``True`` by chance, a list with a seed for each worker,
            or ``False`` not at all, so that all begin with the numbers of this process. Threads share one generator, which stays
            as it is.
        unordered: results in the order in which they are ready; ``False`` keeps that of the items.

    Returns:
        list of results, or ``None`` with a callback.

    Raises:
        Exception: what ``func``, ``iterable`` or ``callback`` raise. Processes are ended then, and threads get no further items.

    >>> parallel_apply(lambda x: x * x, range(5), workers=2, max_queue_size=4, dummy=True, unordered=False)
    [0, 1, 4, 9, 16]
    """
    with contextlib.closing(parallel_apply_generator(func, iterable, workers, max_queue_size, dummy, random_seeds)) as pairs:
        results = (result for _, result in (pairs if unordered else _in_order(pairs)))
        if callback is None:
            return list(results)
        for result in results:
            callback(result)


def parallel_apply_generator(func, iterable, workers, max_queue_size, dummy=False, random_seeds=True):
    """`parallel_apply` as a generator of ``(number of the item, result)``, in the order in which results are ready.

    Not more than ``workers + max_queue_size`` items are read ahead of the results that were taken. Closing the generator ends the
    processes.
    """
    for name, value in (("workers", workers), ("max_queue_size", max_queue_size)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise bad_value(name, value, "a positive integer")
    seeds = [None] * workers if random_seeds is True else random_seeds or []
    if not hasattr(seeds, "__len__"):
        raise bad_value("random_seeds", random_seeds, "True, False or a list of integers")
    return _results(func, enumerate(iterable), workers, workers + max_queue_size, dummy, list(seeds))


def _results(func, numbered, workers, most, dummy, seeds):
    ready = queue.SimpleQueue()
    with _threads(func, workers) if dummy else _processes(func, workers, seeds) as submit:
        on_the_way = 0
        while True:
            for number, item in itertools.islice(numbered, most - on_the_way):
                submit(item).add_done_callback(lambda future, number=number: ready.put((number, future)))
                on_the_way += 1
            if not on_the_way:
                return
            number, future = ready.get()
            on_the_way -= 1
            yield number, future.result()


def _in_order(pairs):
    early, wanted = {}, 0
    for number, result in pairs:
        early[number] = result
        while wanted in early:
            yield wanted, early.pop(wanted)
            wanted += 1


@contextlib.contextmanager
def _threads(func, workers):
    executor = ThreadPoolExecutor(workers)
    try:
        yield lambda item: executor.submit(func, item)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _processes(func, workers, seeds):
    context = _Remembering(multiprocessing.get_context("fork" if sys.platform == "linux" else None))
    start = (func, seeds, context.Value("i", 0))
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=start)
    try:
        yield lambda item: executor.submit(_work, item)
        executor.shutdown()
    except BaseException:  # of the function, of a consumer that stops early, or Ctrl-C: nobody waits for the rest
        for process in context.started:
            if process.is_alive():  # one may have failed to start
                process.terminate()
        executor.shutdown(cancel_futures=True)
        raise


class _Remembering:
    """A multiprocessing context that knows the processes it has started, so that they can be ended."""

    def __init__(self, context):
        self._context = context
        self.started = []

    def __getattr__(self, name):
        return getattr(self._context, name)

    def Process(self, *args, **kwargs):
        process = self._context.Process(*args, **kwargs)
        self.started.append(process)
        return process


# What the processes of one pool apply. It reaches them when they start, for a lambda cannot be sent with an item.
_function = None


def _start_worker(func, seeds, counter):
    global _function
    _function = func
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends this process
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    if number < len(seeds):
        np.random.seed(seeds[number])
        random.seed(seeds[number])


def _work(item):
    return _function(item)
