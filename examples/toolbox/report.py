"""Results as a table for people and as JSON for programs."""

import json
import os
import sys
import time
from pathlib import Path

import keras


class Report:
    """Rows of figures, the naive baseline among them.

    Args:
        arguments: what `Options.read` returned.
        name: of the task, such as ``"Resume NER"``.
        metric: the figure that is compared with the baseline, a key of each row.
        **facts: what else to keep, such as the number of training samples.
    """

    def __init__(self, arguments, name, metric, **facts):
        self.arguments, self.name, self.metric, self.facts = arguments, name, metric, facts
        self.rows, self.started = [], time.perf_counter()

    def add(self, row, figures, baseline=False, note=None):
        """Add a row.

        Args:
            row: its name.
            figures: ``{metric: number}``; ratios in percent.
            baseline: whether it is the naive method that the other rows have to beat. The last baseline above a row counts.
            note: a sentence that explains the row.
        """
        self.rows.append({"name": row, "baseline": baseline, **{k: round(float(v), 2) for k, v in figures.items()}})
        if note:
            self.rows[-1]["note"] = note
        print(f"{self.name}: {row}: " + ", ".join(f"{k} {float(v):.2f}" for k, v in figures.items()), flush=True)

    def finish(self):
        """Print the table, write the JSON file if one was asked for, and return its content."""
        best = None
        for row in self.rows:
            if row["baseline"]:
                best = row[self.metric]
            elif best is not None and self.metric in row:
                row["below_baseline"] = row[self.metric] < best
        result = {
            "example": Path(sys.argv[0]).name,
            "task": self.name,
            "metric": self.metric,
            "rows": self.rows,
            "from_scratch": self.arguments.from_scratch,
            "smoke": self.arguments.smoke,
            "seed": self.arguments.seed,
            "backend": keras.backend.backend(),
            "seconds": round(time.perf_counter() - self.started, 1),
            "cpu_seconds": round(time.process_time(), 1),  # of all threads, since the process began
            **self.facts,
        }
        self._print()
        if self.arguments.output:
            path = self.arguments.output
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(path.name + ".part")
            unfinished.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            os.replace(unfinished, path)
        return result

    def _print(self):
        metrics = list(
            dict.fromkeys(k for row in self.rows for k in row if k not in ("name", "baseline", "note", "below_baseline"))
        )
        width = max(len(self.name), *(len(row["name"]) for row in self.rows)) + 2
        widths = {metric: max(len(metric) + 2, 12) for metric in metrics}
        print(f"\n{self.name:<{width}}" + "".join(f"{metric:>{widths[metric]}}" for metric in metrics))
        for row in self.rows:
            mark = "  (baseline)" if row["baseline"] else "  below the baseline" if row.get("below_baseline") else ""
            cells = {metric: f"{row[metric]:.2f}" if metric in row else "" for metric in metrics}
            figures = "".join(f"{cells[metric]:>{widths[metric]}}" for metric in metrics)
            print(f"{row['name']:<{width}}{figures}{mark}", flush=True)
