"""What loading a BERT-base checkpoint costs in time and memory, by file format.

A synthetic checkpoint (12 layers, hidden size 768) is written in every format. Then, in fresh processes that take turns:
building with the checkpoint, building without it (the difference of the medians is the load), reading the bare file and copying
it once, and the peak of resident memory while the weights go into a model that is built already. The files are in the disk
cache throughout. Memory is measured through /proc, that is on Linux; ``.bin`` needs torch to be written.

Run: python benchmarks/bench_weights.py [--runs 3]
"""

import argparse
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

CONFIG = {
    "model_type": "bert",
    "vocab_size": 21128,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}


def write_checkpoints(folder):
    """Write the checkpoint in every format; returns ``{format: path to open}``."""
    from keras_su.models import build_transformer_model
    from keras_su.weights import write_npz, write_safetensors

    handle = build_transformer_model(CONFIG, return_keras_model=False)
    paths = {"TF bundle": folder / "bert_model.ckpt", "safetensors": folder / "model.safetensors", "npz": folder / "model.npz"}
    handle.save_weights_as_checkpoint(paths["TF bundle"])
    write_safetensors(paths["safetensors"], handle.tensors("torch"))
    write_npz(paths["npz"], handle.tensors("torch"))
    if importlib.util.find_spec("torch"):
        import torch

        paths["bin"] = folder / "pytorch_model.bin"
        torch.save({name: torch.tensor(array) for name, array in handle.tensors("torch")}, paths["bin"])
    return paths


def measure(kind, checkpoint):
    """Run inside a fresh process, where ``kind`` says whether the model is built with its weights or ``"empty"``."""
    from keras_su.models import build_transformer_model

    wall, cpu = time.perf_counter(), time.process_time()
    handle = build_transformer_model(CONFIG, checkpoint if kind == "loaded" else None, return_keras_model=False)
    result = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if kind == "empty":
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        handle.load_weights_from_checkpoint(checkpoint)
        result["peak"] = memory("VmHWM") - before
    else:
        wall, cpu = time.perf_counter(), time.process_time()
        for file in files_of(checkpoint):
            np.frombuffer(file.read_bytes(), "uint8").copy()
        result |= {"wall read": time.perf_counter() - wall, "cpu read": time.process_time() - cpu}
    return result


def files_of(checkpoint):
    return list(Path(checkpoint).parent.glob(Path(checkpoint).name + "*"))


def memory(field):
    """One of the memory figures of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def fresh_process(*arguments):
    command = [sys.executable, __file__, "--measure", json.dumps(arguments)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="fresh processes of each kind and format")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return

    with tempfile.TemporaryDirectory() as folder:
        paths = write_checkpoints(Path(folder))
        sizes = {name: sum(file.stat().st_size for file in files_of(path)) for name, path in paths.items()}
        results = {(kind, name): [] for name in paths for kind in ("empty", "loaded")}
        for _ in range(arguments.runs):
            for (kind, name), values in results.items():
                values.append(fresh_process(kind, str(paths[name])))

    print(f"backend {os.environ['KERAS_BACKEND']}, medians of {arguments.runs} runs; seconds and MB")
    titles = ["format", "file", "clock", "build", "+load", "load", "read+copy", "load/that", "peak", "peak/file"]
    print("".join(f"{title:>12s}" for title in titles))
    for name, size in sizes.items():
        peak = statistics.median(value["peak"] for value in results["empty", name])
        for clock in ("wall", "cpu"):
            build = statistics.median(value[clock] for other in sizes for value in results["empty", other])
            both, read = (statistics.median(value[key] for value in results["loaded", name]) for key in (clock, f"{clock} read"))
            figures = [build, both, both - build, read, (both - build) / read, peak / 1e6, peak / size]
            print(f"{name:>12s}{size / 1e6:12.0f}{clock:>12s}" + "".join(f"{figure:12.2f}" for figure in figures))


if __name__ == "__main__":
    main()
