"""Beam search inside a tree of keys against the same beam search without it, on every backend.

    python benchmarks/bench_constrained.py --keys 1000000 --output constrained.json

The model is that of ``bench_decode.py``; the keys are ``subject [SEP] predicate [SEP] meaning [SEP]``, 13.8 ids on average, as
``synthetic_keys.py`` makes them. After a prompt of 32 tokens a beam of 4 goes 24 steps, all of them: no number of end ids is
enough, and the constraint lets a complete key go on with end ids only. The constrained search that normalises inside the allowed
tokens needs the scores of these alone, hence a few rows of the output matrix instead of 21,128; ``normalize=False`` compares
hypotheses by the model's own probabilities and needs the whole matrix.

Every measurement runs in a process of its own on one CPU and in one thread, in turn, round after round; all times are CPU
seconds, medians over the rounds. A sequence is one prompt with its 4 beams; "faster" is the other's time divided by the row's, in
the same round: median, lowest and highest. transformers, where it is installed, searches with ``prefix_allowed_tokens_fn`` and a
nested dictionary, and does not normalise; our constrained searches are both compared with it. Linux.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_decode import BACKENDS, PEERS_FILE, Contestant, one_thread, reference_model, spread, step, without_ids
from decode_peers import Setting, figures
from synthetic_keys import SEPARATOR, knowledge_keys

from keras_su.decoding.prefix_tree import PrefixTree

OURS, PEER = "keras_su", "transformers"
FREE, NORMALIZED, PLAIN = "unconstrained", "constrained", "constrained, normalize=False"


def measure(search, setting):
    """Figures of one of our searches, with a look at the results."""
    from keras_su.decoding import Beam, PrefixConstraint, generate

    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(1)
    model, tree = reference_model(setting), PrefixTree.load(Path(setting.keys, "tree"))
    processors = [] if search == FREE else [PrefixConstraint(tree, SEPARATOR, normalize=search == NORMALIZED)]
    options = {"processors": processors, "max_new_tokens": setting.new, "end_ids": SEPARATOR, "min_ends": setting.new + 1}

    def call(prompts):
        return [each.tokens.tolist() for each in generate(model, prompts, search=Beam(width=setting.beam), **options)]

    found = figures(call, setting)
    for batch in map(str, setting.batches):
        for ids in found[batch]["ids"]:
            if len(ids) != setting.new or (processors and not inside(tree, ids)):
                raise AssertionError(f"{search}, batch {batch}: {ids} has another length or left the tree")
    return found


def inside(tree, ids):
    """Whether the ids are a key followed by end ids, or the beginning of a key."""
    state = tree.root
    for position, token in enumerate(ids):
        if token not in tree.children(state):
            return set(ids[position:]) == {SEPARATOR} and ids[:position].count(SEPARATOR) == 3
        state = tree.advance(state, token)
    return True


def contestants(backends):
    """``{(library, backend, search): Contestant}``; transformers where it is installed."""
    found = {}
    for backend in backends:
        for search in (FREE, NORMALIZED, PLAIN):
            command = (sys.executable, __file__, "--measure", search, "--setting")
            found[OURS, backend, search] = Contestant(OURS, backend, command)
    if "torch" in backends and importlib.util.find_spec("transformers"):
        for search in (FREE, PLAIN):
            found[PEER, "torch", search] = Contestant(PEER, "torch", (sys.executable, str(PEERS_FILE), PEER))
    return found


def table(results, setting):
    """Markdown table of the medians over the rounds."""
    names = ("ms a step", "sequences/s", "first call, s", "times faster than unconstrained", f"times faster than {PEER}")
    heads = [f"{name}, B={batch}" for name in names for batch in setting.batches]
    lines = [f"| library | backend | search | {' | '.join(heads)} |", "|---|---|---|" + "---|" * len(heads)]
    steps = {
        key: {batch: [step(figure, batch, setting) for figure in rounds] for batch in setting.batches}
        for key, rounds in results.items()
    }
    for (library, backend, search), times in steps.items():
        rounds = results[library, backend, search]
        cells = [f"{statistics.median(of):.2f}" for of in times.values()]
        cells += [f"{batch * 1e3 / statistics.median(of) / setting.new:.2f}" for batch, of in times.items()]
        cells += [f"{statistics.median(figure[str(batch)]['first'] for figure in rounds):.1f}" for batch in setting.batches]
        free = steps[library, backend, FREE] if search != FREE else None
        cells += [ratio(times[batch], free[batch]) if free else "" for batch in setting.batches]
        peer = steps.get((PEER, "torch", FREE if search == FREE else PLAIN)) if library == OURS else None
        cells += [ratio(times[batch], peer[batch]) if peer else "" for batch in setting.batches]
        lines.append(f"| {library} | {backend} | {search} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(times, others):
    return spread([other / time for time, other in zip(times, others)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=lambda text: text.split(","), default=list(BACKENDS), help="of jax, tensorflow, torch")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=Setting.repeats, help="calls a process")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the one to run on")
    parser.add_argument("--output", type=Path, help="JSON file for the raw figures")
    parser.add_argument("--measure", choices=(FREE, NORMALIZED, PLAIN), help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, Setting(**json.loads(arguments.setting)))))
        return
    setting, environment = replace(Setting(), new=24, beam=4, repeats=arguments.repeats), one_thread(arguments.cpu)
    entered = contestants([name for name in arguments.backends if importlib.util.find_spec(BACKENDS[name])])
    results = {key: [] for key in entered}
    with tempfile.TemporaryDirectory() as folder:
        ids, bounds = knowledge_keys(arguments.keys)
        np.save(os.path.join(folder, "ids.npy"), ids)
        np.save(os.path.join(folder, "bounds.npy"), bounds)
        PrefixTree.from_arrays(ids, bounds, progress=False).save(os.path.join(folder, "tree"))
        for _ in range(arguments.rounds):
            for (library, backend, search), contestant in entered.items():
                keys = "" if (library, search) == (PEER, FREE) else folder
                results[library, backend, search].append(contestant.run(replace(setting, keys=keys), environment))
    print(f"{setting}, {arguments.keys:,} keys, {arguments.rounds} rounds\n\n{table(results, setting)}")
    if arguments.output:
        rounds = {", ".join(key): [without_ids(figure) for figure in found] for key, found in results.items()}
        arguments.output.write_text(json.dumps({"setting": vars(setting), "keys": arguments.keys, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
