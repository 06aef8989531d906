"""Work in parallel: results, order, bounds, errors, and that nothing is left behind."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from keras_su.data import parallel_apply, parallel_apply_generator
from keras_su.errors import KerasSuError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:"),
    pytest.mark.skipif(sys.platform != "linux", reason="lambdas need forked processes"),
]
DUMMY = pytest.mark.parametrize("dummy", [True, False], ids=["threads", "processes"])


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert multiprocessing.active_children() == []


@DUMMY
def test_results_of_a_generator_in_both_orders(dummy):
    def slower_first(x):
        time.sleep(0.1 * (x == 0))
        return offset + x

    offset, items = 10, range(20)
    wanted = [10 + x for x in items]
    assert parallel_apply(slower_first, (x for x in items), 2, 4, dummy=dummy, unordered=False) == wanted
    assert sorted(parallel_apply(slower_first, iter(items), 2, 4, dummy=dummy)) == wanted
    seen = []
    assert parallel_apply(slower_first, items, 2, 4, callback=seen.append, dummy=dummy, unordered=False) is None
    assert seen == wanted
    pairs = list(parallel_apply_generator(slower_first, iter(items), 2, 3, dummy=dummy))
    assert sorted(pairs) == list(enumerate(wanted)) and pairs[0][0] != 0
    assert parallel_apply(abs, [], 2, 4, dummy=dummy) == []


@DUMMY
def test_items_are_read_only_as_fast_as_results_are_taken(dummy):
    read = []
    results = parallel_apply_generator(abs, (read.append(i) or i for i in range(1000)), 2, 3, dummy=dummy)
    for taken in range(1, 20):
        next(results)
        assert taken <= len(read) <= taken + 5
    results.close()


@DUMMY
def test_errors_come_at_once(dummy):
    def fail(x):
        if x == 3:
            raise LookupError("third")
        time.sleep(0.01 if x < 3 or dummy else 60)

    start = time.monotonic()
    with pytest.raises(LookupError, match="third"):
        parallel_apply(fail, range(1000), 2, 4, dummy=dummy)
    with pytest.raises(ZeroDivisionError):
        parallel_apply(abs, (1 // (3 - i) for i in range(9)), 2, 4, dummy=dummy)
    with pytest.raises(ZeroDivisionError):
        parallel_apply(abs, range(9), 2, 4, callback=lambda _: 1 / 0, dummy=dummy)
    assert time.monotonic() - start < 30


def test_interruption_and_death_of_a_process(tmp_path):
    start = time.monotonic()

    def sleep(_):
        (tmp_path / "started").touch()
        time.sleep(60)

    def interrupt():
        while not (tmp_path / "started").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # A process in the background of a shell ignores interruptions, and so would this one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel_apply(sleep, range(5), 2, 4)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(BrokenProcessPool):
        parallel_apply(lambda _: os._exit(1), range(5), 2, 4)
    with pytest.raises(Exception, match="[Pp]ickle"):
        parallel_apply(lambda x: lambda: x, range(5), 2, 4)
    assert time.monotonic() - start < 30


def test_seeds_of_processes():
    def draw(_):
        time.sleep(0.05)  # so that both processes get items
        return int(np.random.randint(2**31))

    def first(seed):
        return int(np.random.RandomState(seed).randint(2**31))

    assert {first(1), first(2)} <= set(parallel_apply(draw, range(6), 2, 4, random_seeds=[1, 2]))
    np.random.seed(9)
    before = np.random.get_state()[1].copy()
    chance = parallel_apply(draw, range(6), 2, 4)
    assert len(set(chance)) == 6 and first(9) not in chance
    assert parallel_apply(draw, range(1), 1, 4, random_seeds=False) == [first(9)]
    parallel_apply(abs, range(3), 2, 4, dummy=True)
    assert (np.random.get_state()[1] == before).all()


def test_what_is_refused():
    for arguments in ({"workers": 0}, {"max_queue_size": 0}, {"random_seeds": 5}):
        with pytest.raises(KerasSuError, match=next(iter(arguments))):
            parallel_apply(**{"func": abs, "iterable": [1], "workers": 1, "max_queue_size": 1, **arguments})
