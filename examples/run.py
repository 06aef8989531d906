"""The examples as a whole: their table, their smoke runs, their measurements.

    python examples/run.py table                       # the table of README.md, from catalogue/*.toml and results/*.json
    python examples/run.py table --language zh         # that of README_zh.md
    python examples/run.py table --details             # RESULTS.md: every row of every result
    python examples/run.py smoke                       # every example on three backends, in seconds each
    python examples/run.py measure --data DIR --tiny DIR --only task_ner.py   # run again what the table shows

``measure`` wants the published files below one folder, named as in the catalogue, and for some runs the small model that
``pretraining_mlm.py --save DIR`` writes.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")
WORDS = {
    "en": {
        "examples": "| example | shows | try it |",
        "runs": "| measured here | baseline | result | CPU minutes | published, with the original weights | command |",
        "below": "below the baseline",
        "missing": "not run",
        "comma": ", ",
    },
    "zh": {
        "examples": "| 示例 | 内容 | 试一试 |",
        "runs": "| 本机实测 | 基线 | 结果 | CPU 分钟 | 原始权重的公开成绩 | 命令 |",
        "below": "低于基线",
        "missing": "未运行",
        "comma": "，",
    },
}


@dataclass(frozen=True)
class Entry:
    """What a file of the catalogue says of an example."""

    example: str
    shows: str
    shows_zh: str
    smoke: list
    more_smokes: list
    runs: list

    @classmethod
    def read(cls, path):
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(**{"more_smokes": [], "runs": [], **fields})


def catalogue(only=None):
    """All entries in the order of their file names, or one of them."""
    entries = [Entry.read(path) for path in sorted((HERE / "catalogue").glob("*.toml"))]
    return [entry for entry in entries if only in (None, entry.example)]


def command_of(example, arguments, **folders):
    """A command line; ``{data}`` and ``{tiny}`` in it are filled with ``folders``."""
    return ["examples/" + example, *(argument.format(**folders) for argument in arguments)]


def read_result(run):
    path = HERE / "results" / run["result"]
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


# The table -----------------------------------------------------------------------------------------------------------


def row_of(example, run, language):
    """A line of the table of measurements: baseline and result are apart from what others published."""
    words, in_chinese = WORDS[language], language == "zh"
    name = in_chinese and run.get("name_zh") or run["name"]
    note = in_chinese and run.get("note_zh") or run.get("note", "")
    command = " ".join(command_of(example, run["arguments"], data="DATA", tiny="TINY"))
    published = run.get("published", "") and f"[{run['published']}]({run['source']})"
    result, baseline, figures, minutes = read_result(run), "", words["missing"], ""
    if result:
        metric = result["metric"]
        cells = {True: [], False: []}
        for row in result["rows"]:
            if metric in row:
                mark = f" **{words['below']}**" if row.get("below_baseline") else ""
                cells[row["baseline"]].append(f"{row['name']} {row[metric]:.2f}{mark}")
        baseline, figures = "; ".join(cells[True]), f"{metric}: " + "; ".join(cells[False])
        minutes = f"{result['cpu_seconds'] / 60:.1f} ({result['backend']})"
    name = f"{name}. {note}" if note else name
    return f"| {name} | {baseline} | {figures} | {minutes} | {published} | `{command}` |"


def table(language):
    words = WORDS[language]
    entries = catalogue()
    lines = [words["examples"], "|---|---|---|"]
    for entry in entries:
        shows = entry.shows_zh if language == "zh" else entry.shows
        arguments = entry.smoke[0] if entry.smoke else []
        smoke = " ".join([*command_of(entry.example, arguments), "--smoke"])
        lines.append(f"| [`{entry.example}`]({entry.example}) | {shows} | `python {smoke}` |")
    lines += ["", words["runs"], "|---|---|---|---|---|---|"]
    lines += [row_of(entry.example, run, language) for entry in entries for run in entry.runs]
    return lines


def details():
    """Every row and every figure of every result."""
    lines = []
    for entry in catalogue():
        for run in entry.runs:
            result = read_result(run)
            if result is None:
                continue
            known = ("name", "baseline", "note", "below_baseline")
            metrics = list(dict.fromkeys(key for row in result["rows"] for key in row if key not in known))
            lines += [f"## {run['name']}", ""]
            lines += [f"`{' '.join(command_of(entry.example, run['arguments'], data='DATA', tiny='TINY'))}`", ""]
            lines += [f"| {result['task']} | " + " | ".join(metrics) + " | |", "|---" * (len(metrics) + 2) + "|"]
            for row in result["rows"]:
                mark = "baseline" if row["baseline"] else "below the baseline" if row.get("below_baseline") else ""
                mark = ". ".join(filter(None, [mark, row.get("note")]))
                figures = " | ".join(f"{row[metric]:.2f}" if metric in row else "" for metric in metrics)
                lines.append(f"| {row['name']} | {figures} | {mark} |")
            lines.append("")
    return lines[:-1]


# Running -------------------------------------------------------------------------------------------------------------


def run_one(command, backend, log):
    """Run a command of the catalogue; returns whether it succeeded, and the CPU seconds it took: others may be busy, too."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if "--smoke" in command:  # tiny models are compiled for longer than they run
        environment.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=HERE.parent, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    return status == 0, usage.ru_utime + usage.ru_stime


def smoke(arguments):
    """The grid of all smoke runs and backends, two at a time."""
    arguments.logs.mkdir(parents=True, exist_ok=True)
    chosen = [(entry, [*entry.smoke, *(entry.more_smokes if arguments.more else [])]) for entry in catalogue(arguments.only)]
    runs = [(entry.example, options) for entry, several in chosen for options in several]
    jobs = [(number, backend) for number in range(len(runs)) for backend in arguments.backends]

    def work(job):
        (example, options), backend = runs[job[0]], job[1]
        log = arguments.logs / f"{Path(example).stem}_{job[0]}_{backend}.log"
        return run_one([*command_of(example, options), "--smoke"], backend, log)

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(jobs, pool.map(work, jobs)))
    print("| smoke run, CPU seconds | " + " | ".join(arguments.backends) + " |")
    print("|---" * (1 + len(arguments.backends)) + "|")
    for number, (example, options) in enumerate(runs):
        cells = [results[number, backend] for backend in arguments.backends]
        print(
            f"| {' '.join([example, *options])} | " + " | ".join(f"{s:.1f}" if good else "**failed**" for good, s in cells) + " |"
        )
    failed = [job for job, (good, _) in results.items() if not good]
    print(f"{len(jobs) - len(failed)} of {len(jobs)} passed; slowest {max(s for _, s in results.values()):.1f} CPU s")
    return bool(failed)


def is_ready(run):
    """Whether the folders are there that a run reads and another one saves."""
    read = [value for option, value in zip(["", *run["arguments"]], run["arguments"]) if option != "--save"]
    return all((HERE.parent / value).is_dir() for value in read if value.startswith("runs/"))


def measure(arguments):
    """Run what stands in the table, and write the results anew."""
    arguments.logs.mkdir(parents=True, exist_ok=True)
    todo = [(entry.example, run) for entry in catalogue(arguments.only) for run in entry.runs]
    todo = [(example, run) for example, run in todo if arguments.result in (None, run["result"])]
    failed = []
    while todo:
        example, run = todo.pop(next((i for i, (_, run) in enumerate(todo) if is_ready(run)), 0))
        output = HERE / "results" / run["result"]
        command = command_of(example, run["arguments"], data=arguments.data, tiny=arguments.tiny)
        log = arguments.logs / f"{output.stem}.log"
        good, seconds = run_one([*command, "--output", str(output)], arguments.backends[0], log)
        print(f"{run['name']}: {'done' if good else f'failed, see {log}'} ({seconds:.0f} CPU s)", flush=True)
        failed += [] if good else [run["name"]]
    return bool(failed)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "smoke", "measure"])
    parser.add_argument("--language", choices=sorted(WORDS), default="en")
    parser.add_argument("--details", action="store_true", help="table: every row of every result")
    parser.add_argument("--backends", nargs="+", default=None, help="smoke: all three; measure: one, jax")
    parser.add_argument("--only", metavar="EXAMPLE", help="one example, such as task_ner.py")
    parser.add_argument("--more", action="store_true", help="smoke: with other options, too")
    parser.add_argument("--result", metavar="FILE", help="measure: one result, such as ner_resume_crf.json")
    parser.add_argument("--data", default="DATA", help="measure: folder of all public data sets")
    parser.add_argument("--tiny", default="TINY", help="measure: folder that pretraining_mlm.py wrote")
    parser.add_argument("--logs", type=Path, default=HERE.parent / "runs" / "logs", help="folder for what the examples print")
    arguments = parser.parse_args(argv)
    arguments.backends = arguments.backends or (BACKENDS if arguments.what == "smoke" else ["jax"])
    if arguments.what == "table":
        print("\n".join(details() if arguments.details else table(arguments.language)))
        return 0
    return (smoke if arguments.what == "smoke" else measure)(arguments)


if __name__ == "__main__":
    sys.exit(main())
