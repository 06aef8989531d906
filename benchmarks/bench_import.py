"""What ``import keras_su`` costs on top of ``import keras``.

Fresh processes, alternating so that a busy machine slows both alike; median of each. The third row, the import of keras_su in a
process that has Keras already, is the difference itself, without the noise of importing Keras twice.

Run: python benchmarks/bench_import.py [--runs 15]
"""

import argparse
import os
import statistics
import subprocess
import sys

PROGRAM = """
import sys, time
import {first}
before, start = set(sys.modules), time.perf_counter()
import {second}
seconds = time.perf_counter() - start
print(seconds, *sorted({{name.split(".")[0] for name in set(sys.modules) - before}} & {{"tensorflow", "jax", "torch"}}))
"""


def fresh_import(second, first="sys"):
    """Seconds that ``import second`` takes after ``import first`` in a new process, and the backends that it loaded."""
    program = PROGRAM.format(first=first, second=second)
    output = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    seconds, *backends = output.stdout.split()
    return float(seconds), backends


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="fresh processes of each kind")
    runs = parser.parse_args().runs
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode

    seconds = {"import keras": [], "import keras_su": [], "import keras_su after keras": []}
    ours = set()
    fresh_import("keras_su")  # fills the disk cache and compiles
    for _ in range(runs):
        seconds["import keras"].append(fresh_import("keras")[0])
        seconds["import keras_su"].append(fresh_import("keras_su")[0])
        alone, backends = fresh_import("keras_su", first="keras")
        seconds["import keras_su after keras"].append(alone)
        ours.update(backends)

    print(f"backend {os.environ['KERAS_BACKEND']}, {runs} runs each, seconds")
    for name, values in seconds.items():
        print(f"{name:30s} median {statistics.median(values):6.3f}   min {min(values):6.3f}   max {max(values):6.3f}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"difference of medians          {medians['import keras_su'] - medians['import keras']:+.3f}")
    print(f"backends that keras_su itself loads: {', '.join(sorted(ours)) or 'none'}")


if __name__ == "__main__":
    main()
