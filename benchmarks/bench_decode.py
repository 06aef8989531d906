"""Greedy decoding with a small GPT-2 on every backend, beside keras-hub, transformers, bert4keras and the limit of the memory.

    python benchmarks/bench_decode.py --hub-python hub/bin/python --b4k-python b4k/bin/python --output decode.json

The model has 6 layers of 384 units, 6 heads, a vocabulary of 21,128 and random float32 weights; 32 tokens are generated after 32.
Every measurement runs in a process of its own on one CPU and in one thread, the contestants in turn, round after round. All times
are CPU seconds of the process. A step is a 32nd of a call, the reading of the prompt included; within a process the median of the
calls counts, after a first one that is shown by itself because it compiles; tables show medians over the rounds. Ratios are those
of one round, "faster" is the other's time divided by ours: median, lowest and highest. The limit is the time in which one thread
reads all weights that a step needs, at the best bandwidth it gets on an array far larger than the caches.

Peers that need packages of their own are measured by the interpreters given: keras-hub 0.32 on Keras 3 with all backends, and
bert4keras 0.11.5 (installed without its dependencies) on TensorFlow 2.15; transformers is taken from our own environment. With
``full recompute`` the whole sequence goes through the model at every step; its ids must equal those of the cached search. Linux.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from decode_peers import Setting, figures, timed

BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}  # and the package it needs
PEERS_FILE = Path(__file__).with_name("decode_peers.py")
LIMIT_BYTES = 2**29


@dataclass(frozen=True)
class Contestant:
    """One row of the table: what to run, and with which interpreter."""

    title: str
    backend: str
    command: tuple

    def run(self, setting, environment):
        """The figures of one fresh process."""
        command = [*self.command, setting.to_json()]
        environment = environment | {"KERAS_BACKEND": self.backend}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{done.stderr}\n{self.title}, {self.backend}: the measurement failed.")
        return json.loads(done.stdout.splitlines()[-1])


def reference_model(setting):
    """The model of the benchmark, with weights that are equal on all backends."""
    from keras_su.models import build_transformer_model

    config = {
        "model_type": "gpt2",
        "vocab_size": setting.vocabulary,
        "n_embd": setting.hidden,
        "n_layer": setting.layers,
        "n_head": setting.heads,
        "n_positions": setting.prompt + setting.new,
        "activation_function": "gelu_new",
    }
    model = build_transformer_model(config, model="gpt2")
    generator = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 2:  # with smaller kernels the tied table would say the last id again and again
            deviation = 0.02 if "Embedding" in variable.path else 0.1
            variable.assign(generator.normal(0.0, deviation, variable.shape).astype("float32"))
    return model


def bytes_of_step(model):
    """What a step reads of the weights: all matrices, the tied table once, of the positions next to nothing."""
    matrices = {id(each): each for each in model.weights if len(each.shape) == 2 and "Position" not in each.path}
    return sum(4 * int(np.prod(each.shape)) for each in matrices.values())


def measure_ours(setting, cached):
    """Figures of our own search."""
    from keras_su.decoding import Greedy, generate

    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(1)
    model = reference_model(setting)

    def call(prompts):
        found = generate(model, prompts, search=Greedy(), max_new_tokens=setting.new, end_ids=(), cached=cached)
        return [np.asarray(each.tokens).tolist() for each in found]

    return {"weights": bytes_of_step(model), **figures(call, setting)}


def measure_limit(setting):
    """The best read bandwidth of one thread, bytes a second, over several passes of several reductions."""
    array = np.ones(LIMIT_BYTES // 4, np.float32)
    passes = [timed(read, array)[0] for read in (np.sum, np.max, lambda x: np.dot(x, x)) for _ in range(setting.repeats)]
    return {"bandwidth": array.nbytes / min(passes)}


MEASURES = {
    "cached": lambda setting: measure_ours(setting, True),
    "full recompute": lambda setting: measure_ours(setting, False),
    "limit": measure_limit,
}


def contestants(arguments):
    """Who is measured, and notes on who is not."""
    found, notes = [], []
    backends = [name for name in arguments.backends if importlib.util.find_spec(BACKENDS[name])]
    for kind, title in (("cached", "keras_su"), ("full recompute", "keras_su, full recompute")):
        found += [Contestant(title, name, (sys.executable, __file__, "--measure", kind, "--setting")) for name in backends]
    peers = [("keras-hub", name, arguments.hub_python, "--hub-python") for name in arguments.backends]
    peers += [("keras-hub, XLA", "tensorflow", arguments.hub_python, "--hub-python")] * ("tensorflow" in backends)
    transformers = sys.executable if importlib.util.find_spec("transformers") and "torch" in backends else None
    peers += [("transformers", "torch", transformers, "transformers and torch installed")]
    peers += [("bert4keras", "tensorflow", arguments.b4k_python, "--b4k-python")]
    for title, backend, python, need in peers:
        if python:
            found.append(Contestant(title, backend, (python, str(PEERS_FILE), title)))
        else:
            notes.append(f"{title} on {backend} was not measured: that needs {need}.")
    notes += [f"keras_su on {name} was not measured: it is not installed." for name in arguments.backends if name not in backends]
    return found, notes


def check_ids(results, setting):
    """The cached search and the full computation find the same ids, in every round."""
    for (title, backend), rounds in results.items():
        for figure, other in zip(rounds, results.get(("keras_su", backend), [])):
            for batch in map(str, setting.batches):
                if title == "keras_su, full recompute" and figure[batch]["ids"] != other[batch]["ids"]:
                    raise AssertionError(f"{backend}, batch {batch}: the ids of the cached search differ from full recompute")


def step(figure, batch, setting):
    """Milliseconds of a step."""
    return statistics.median(figure[str(batch)]["times"]) / setting.new * 1e3


def tables(results, bandwidths, setting):
    """Two Markdown tables: times, and ratios to the peers and to the limit."""
    median = statistics.median
    weights = next((rounds[0]["weights"] for rounds in results.values() if "weights" in rounds[0]), 0)
    limits = [weights / each * 1e3 for each in bandwidths]
    times = {
        key: {batch: [step(figure, batch, setting) for figure in rounds] for batch in setting.batches}
        for key, rounds in results.items()
    }
    heads = [f"{name}, B={batch}" for name in ("ms a step", "tokens/s", "first call, s") for batch in setting.batches]
    lines = [f"| library | backend | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for key, of in times.items():
        cells = [f"{median(of[batch]):.2f}" for batch in setting.batches]
        cells += [f"{batch * 1e3 / median(of[batch]):,.0f}" for batch in setting.batches]
        cells += [f"{median(figure[str(batch)]['first'] for figure in results[key]):.1f}" for batch in setting.batches]
        lines.append(f"| {' | '.join(key)} | {' | '.join(cells)} |")
    bandwidth = f"reading {weights / 1e6:.1f} MB of weights at {median(bandwidths) / 1e9:.1f} GB/s"
    lines.append(
        f"| limit | {bandwidth} |{f' {median(limits):.2f} |' * len(setting.batches)}" + " |" * (2 * len(setting.batches))
    )

    lines += ["", f"| keras_su on | against | {' | '.join(f'B={batch}' for batch in setting.batches)} |"]
    lines.append("|---|---|" + "---|" * len(setting.batches))
    for title, backend in times:
        if title != "keras_su":
            continue
        ours = times[title, backend]
        for other, theirs in times.items():
            if other[0] != "keras_su" and (other[1] == backend or other[0] == "bert4keras"):
                cells = [spread([b / a for a, b in zip(ours[batch], theirs[batch])]) for batch in setting.batches]
                lines.append(f"| {backend} | {other[0]}: times faster | {' | '.join(cells)} |")
        cells = [spread([a / b for a, b in zip(ours[batch], limits)]) for batch in setting.batches]
        lines.append(f"| {backend} | limit: time divided by it | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def one_thread(processor):
    """Restrict this process and its children to one CPU; returns the environment for children that compute in one thread."""
    os.sched_setaffinity(0, {processor})
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return os.environ | dict.fromkeys(pools, "1") | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_KERAS": "1"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", type=lambda text: text.split(","), default=list(BACKENDS), help="of jax, tensorflow, torch")
    parser.add_argument("--hub-python", help="interpreter with keras-hub")
    parser.add_argument("--b4k-python", help="interpreter with bert4keras")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=Setting.repeats, help="calls a process")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the one to run on")
    parser.add_argument("--output", type=Path, help="JSON file for the raw figures")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(MEASURES[arguments.measure](Setting(**json.loads(arguments.setting)))))
        return
    setting, environment = replace(Setting(), repeats=arguments.repeats), one_thread(arguments.cpu)
    limit = Contestant("limit", "", (sys.executable, __file__, "--measure", "limit", "--setting"))
    entered, notes = contestants(arguments)
    results, bandwidths = {(each.title, each.backend): [] for each in entered}, []
    for _ in range(arguments.rounds):
        bandwidths.append(limit.run(setting, environment)["bandwidth"])
        for each in entered:
            results[each.title, each.backend].append(each.run(setting, environment))
    check_ids(results, setting)
    print(f"{setting}, {arguments.rounds} rounds\n\n{tables(results, bandwidths, setting)}", *notes, sep="\n")
    print("The ids of the cached search equal those of full recompute.")
    if arguments.output:
        rounds = {", ".join(key): [without_ids(figure) for figure in found] for key, found in results.items()}
        arguments.output.write_text(json.dumps({"setting": vars(setting), "bandwidths": bandwidths, "rounds": rounds}, indent=1))


def without_ids(figure):
    return {key: {k: v for k, v in of.items() if k != "ids"} if isinstance(of, dict) else of for key, of in figure.items()}


if __name__ == "__main__":
    main()
