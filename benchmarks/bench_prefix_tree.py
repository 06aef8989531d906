"""PrefixTree against a nested dictionary, marisa-trie and transformers, on synthetic knowledge-graph keys.

    OMP_NUM_THREADS=1 python benchmarks/bench_prefix_tree.py --keys 1000000 --peers dict,marisa,transformers

Every measurement runs in a process of its own, the peers in turn, round after round; the table shows medians. All times but those
of loading are CPU time. The build includes turning the stored keys into Python lists, the same for all (row "lists only"), except
that ``from_arrays`` needs none. It is without garbage collection, which would slow down the dictionaries. Peak memory is what the
build adds to the process at its highest, the result included. A step is: list the tokens that may follow (for a batch also fetch
their scores from a row of 21,128), then go on with the next token of a real key; the first step, at the root, is left out. The
rows "dense" give all 21,128 scores instead, minus infinity where a token may not follow, for one beam as well; that is what the
``PrefixConstrainedLogitsProcessor`` of transformers does, here over a nested dictionary that is walked from its root. It makes a
new matrix in every step; ours is the same one each time. Linux.
"""

import argparse
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from prefix_tree_peers import CONTESTANTS, MODULES, OWN, PEERS, VOCABULARY, resident, stored_keys
from synthetic_keys import knowledge_keys

WALKS = {1: 200, 32: 10, 256: 4}  # batch size: batches that are walked


def measure(name, folder):
    """All figures of one contestant, as a dictionary."""
    started = time.process_time()
    keys = sum(1 for _ in stored_keys(folder))
    figures = {"lists_us": (time.process_time() - started) / keys * 1e6}
    contestant = CONTESTANTS[name]()
    gc.collect()
    gc.disable()
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts again from here
    before, started = resident("VmRSS"), time.process_time()
    nbytes = contestant.build(folder)
    figures["build"] = keys / (time.process_time() - started)
    figures["peak"] = (resident("VmHWM") - before) / keys
    figures["bytes"] = nbytes / keys
    figures["load"] = contestant.load(folder) * 1e3
    for batch, walks in WALKS.items():
        times = walk(contestant, folder, batch, walks)
        figures[f"step{batch}"] = statistics.mean(times) * 1e6
        figures[f"median{batch}"] = statistics.median(times) * 1e6
    return figures


def walk(contestant, folder, batch, walks):
    """Seconds of each step along random keys, as far as the shortest of the batch goes."""
    ids, bounds = np.load(folder / "ids.npy"), np.load(folder / "bounds.npy")
    generator = np.random.default_rng(1)
    scores = generator.standard_normal((batch, VOCABULARY), np.float32)
    times = []
    for _ in range(walks):
        rows = generator.integers(0, len(bounds) - 1, batch)
        keys = [ids[bounds[row] : bounds[row + 1]].tolist() for row in rows]
        first, *columns = zip(*keys)
        state = contestant.start(first)
        for column in columns:
            started = time.process_time()
            if batch == 1:
                _, state = contestant.step(state, column[0])
            else:
                _, state = contestant.batch_step(state, column, scores)
            times.append(time.process_time() - started)
    return times


def table(results):
    """Markdown table of the medians over the rounds."""
    of = medians(results)
    lines = [
        "| structure | bytes/key | build, keys/s | peak, bytes/key | load, ms | step, us: median / mean | 32 beams | 256 beams |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in of.items():
        cells = [f"{each[figure]:,.0f}" for figure in ("build", "peak")]
        cells += [f"{each['load']:,.1f}", f"{each['median1']:,.1f} / {each['step1']:,.1f}"]
        cells += [f"{each[figure]:,.0f}" for figure in ("step32", "step256")]
        lines.append(f"| {CONTESTANTS[name].title} | {each['bytes']:,.1f} | {' | '.join(cells)} |")
    lists = statistics.median(each["lists_us"] for rounds in results.values() for each in rounds)
    return "\n".join([*lines, f"| lists only | | {1e6 / lists:,.0f} | | | | | |"])


def medians(results):
    """``{contestant: {figure: median over the rounds}}``."""
    return {
        name: {figure: statistics.median(each[figure] for each in rounds) for figure in rounds[0]}
        for name, rounds in results.items()
    }


def ratios(results):
    """Markdown table of how many times faster, or smaller, our structures are than the peers."""
    of = medians(results)
    lines = ["| | smaller | build, keys/s | step, median | 32 beams | 256 beams |", "|---|---|---|---|---|---|"]
    for own in ("tree", "arrays", "dense"):
        for peer in filter(of.get, PEERS):
            factors = [of[own]["build"] / of[peer]["build"]]
            factors += [of[peer][figure] / of[own][figure] for figure in ("median1", "step32", "step256")]
            smaller = of[peer]["bytes"] / of[own]["bytes"]
            cells = " | ".join(f"{factor:,.2f}" for factor in [smaller, *factors])
            lines.append(f"| {CONTESTANTS[own].title} against {CONTESTANTS[peer].title} | {cells} |")
    return "\n".join(lines)


def main():
    installed = [peer for peer, module in MODULES.items() if importlib.util.find_spec(module)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--peers", default=",".join(installed), help=f"of {', '.join(PEERS)}; default: those installed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder)))
        return
    peers = [peer for peer in arguments.peers.split(",") if peer]
    if not set(peers) <= set(installed):
        parser.error(f"--peers {arguments.peers}: known are {', '.join(PEERS)}; installed are {', '.join(installed)}")
    names = [*OWN, *peers]
    results = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        ids, bounds = knowledge_keys(arguments.keys, arguments.seed)
        np.save(os.path.join(folder, "ids.npy"), ids)
        np.save(os.path.join(folder, "bounds.npy"), bounds)
        print(f"{arguments.keys:,} keys of {len(ids) / arguments.keys:.1f} ids, {arguments.rounds} rounds")
        for _ in range(arguments.rounds):
            for name in names:
                command = [sys.executable, __file__, "--measure", name, "--folder", folder]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                results[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(table(results), ratios(results), sep="\n\n")


if __name__ == "__main__":
    main()
