"""The command line of an example."""

import argparse
import tempfile
from pathlib import Path

import keras


class Options(argparse.ArgumentParser):
    """A parser that knows the options which all examples have; an example adds its own and calls `read`.

    Args:
        doc: docstring of the example.
        synthetic: function that writes small files in the layout of the published ones into a folder; what ``--smoke`` runs on.
        scratch: defaults of ``--epochs``, ``--batch-size``, ``--learning-rate``, ``--max-length``, ``--family`` and of
            options of the example, without a pre-trained model.
        pretrained: what is different with one.
        smoke: values that ``--smoke`` sets, beside one epoch and batches of 8.
    """

    def __init__(self, doc, *, synthetic=None, scratch=None, pretrained=None, smoke=None):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.synthetic = synthetic
        self.scratch = {"epochs": 10, "batch_size": 32, "learning_rate": 1e-3, "max_length": 128, **(scratch or {})}
        self.pretrained = {**self.scratch, "epochs": 3, "learning_rate": 2e-5, "family": None, **(pretrained or {})}
        self.smoke = {"epochs": 1, "batch_size": 8, **(smoke or {})}
        if synthetic:
            self.add_argument("--data-dir", type=Path, help="folder of the data files")
        self.add_argument("--pretrained", metavar="DIR", help="folder of a pre-trained model: config.json, weights, vocab.txt")
        self.add_argument("--config", help="or its parts: bert_config.json,")
        self.add_argument("--checkpoint", help="... bert_model.ckpt,")
        self.add_argument("--vocab", help="... vocab.txt. Without these a small model is trained from scratch")
        self.add_argument(
            "--family",
            help="of the model, such as roformer; default: what the folder says; elsewhere bert, or what suits the example",
        )
        for name in ("epochs", "batch_size"):
            self.add_argument(f"--{name.replace('_', '-')}", type=int, help=self._two_defaults(name))
        self.add_argument("--learning-rate", type=float, help=self._two_defaults("learning_rate"))
        self.add_argument("--max-length", type=int, help=self._two_defaults("max_length"))
        self.add_argument("--seed", type=int, default=42, help="of all random numbers; default: 42")
        self.add_argument("--output", type=Path, metavar="FILE", help="where to write the results as JSON")
        self.add_argument("--smoke", action="store_true", help="run every part on a few synthetic lines, in seconds")

    def _two_defaults(self, name):
        return f"default: {self.scratch[name]} from scratch, {self.pretrained[name]} with a pre-trained model"

    def read(self, argv=None):
        """The parsed arguments; random numbers are seeded, and with ``--smoke`` there are synthetic files in ``data_dir``."""
        arguments = self.parse_args(argv)
        if (arguments.config is None) != (arguments.vocab is None):
            self.error(
                "--config and --vocab belong together: a model knows nothing about words, a vocabulary nothing about sizes."
            )
        if arguments.pretrained and arguments.config:
            self.error("--pretrained names a whole folder, --config a file: which of the two?")
        if arguments.checkpoint and not arguments.config:
            self.error("--checkpoint needs --config and --vocab.")
        arguments.from_scratch = not (arguments.pretrained or arguments.config)
        defaults = self.scratch if arguments.from_scratch else self.pretrained
        for name, value in {**defaults, **(self.smoke if arguments.smoke else {})}.items():
            if getattr(arguments, name, None) is None or arguments.smoke and name in self.smoke:
                setattr(arguments, name, value)
        if self.synthetic:
            self._find_data(arguments)
        keras.utils.set_random_seed(arguments.seed)
        return arguments

    def _find_data(self, arguments):
        if arguments.smoke:
            arguments.temporary = tempfile.TemporaryDirectory()  # goes when the arguments go
            arguments.data_dir = Path(arguments.temporary.name)
            self.synthetic(arguments.data_dir)
        elif arguments.data_dir is None:
            self.error("--data-dir is missing: the folder of the published files (or --smoke, which writes its own).")
        elif not arguments.data_dir.is_dir():
            self.error(f"--data-dir: there is no folder {str(arguments.data_dir)!r}.")
