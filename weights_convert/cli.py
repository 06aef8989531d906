"""The command line: ``python -m weights_convert --from SOURCE --to TARGET --format hf|tf|keras``."""

import argparse
import json
import signal
import sys
import warnings
from pathlib import Path

from keras_su.errors import KerasSuError, MissingDependencyError, did_you_mean
from keras_su.models import list_models
from weights_convert import catalogue
from weights_convert.conversion import DTYPES, FORMATS, Request, convert
from weights_convert.vocabulary import read_keep_tokens

DONE, FAILED, USAGE = 0, 1, 2

_EXAMPLES = """examples:
  python -m weights_convert --from chinese_L-12_H-768_A-12 --to bert-hf --format hf
  python -m weights_convert --from hf://hfl/rbt3 --to rbt3.keras --format keras --verify
  python -m weights_convert --from bert-hf/pytorch_model.bin --to bert-tf --format tf --keep-tokens ids.json
  python -m weights_convert --list

The source may be a folder, a TensorFlow prefix, a .safetensors, .bin, .h5, .npz or .keras file, hf://owner/name or ms://owner/name.
"""


class Parser(argparse.ArgumentParser):
    """Errors name the nearest option, and end with the exit code for wrong usage."""

    def error(self, message):
        unknown = message.removeprefix("unrecognized arguments: ").split()
        if len(unknown) and message.startswith("unrecognized"):
            message += "." + did_you_mean(unknown[0].split("=")[0], self._option_string_actions)
        self.exit(USAGE, f"{self.prog}: {message}\n{self.prog}: --help lists the options\n")


def one_of(kind, known):
    """An argument type for a name out of a list, case ignored, with the nearest one in the error."""

    def check(text):
        if text.lower() in known:
            return text.lower()
        shown = ", ".join(sorted(known)[:60])
        raise argparse.ArgumentTypeError(f"unknown {kind} {text!r}.{did_you_mean(text.lower(), known)} Known: {shown}")

    return check


def setting(text):
    """``NAME=VALUE`` with a JSON value, or else a string.

    >>> setting("with_pool=linear"), setting("num_hidden_layers=3"), setting("with_mlm=true")
    (('with_pool', 'linear'), ('num_hidden_layers', 3), ('with_mlm', True))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE, e.g. with_pool=linear")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def make_parser():
    """The options."""
    parser = Parser(
        prog="python -m weights_convert",
        description="Convert checkpoints between Hugging Face folders, TensorFlow checkpoints and .keras files.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to convert")
    what.add_argument("--from", dest="source", metavar="SOURCE", help="path, hf://owner/name[@revision][/file] or ms://...")
    what.add_argument("--to", dest="target", metavar="PATH", help="folder, or for keras one file NAME.keras")
    what.add_argument("--format", type=one_of("format", FORMATS), metavar="|".join(FORMATS), help="of the result")
    what.add_argument("--model", type=one_of("model", list_models()), metavar="NAME", help="family; default: found out")
    what.add_argument("--config", metavar="PATH", help="configuration file; default: the one beside the weights")
    what.add_argument(
        "--set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting that wins over it"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--dtype", type=one_of("dtype", DTYPES), metavar="|".join(DTYPES), help="of the result; default: as it is")
    how.add_argument("--keep-tokens", metavar="FILE", help="JSON list of token ids, or one id per line: the rest is dropped")
    how.add_argument("--verify", action="store_true", help="compare the outputs of the source and of the result, read back")
    how.add_argument("--force", action="store_true", help="replace an existing checkpoint")
    tell = parser.add_argument_group("what to tell")
    tell.add_argument("--report", metavar="FILE.json", help="write what happened to every tensor")
    tell.add_argument("--quiet", action="store_true", help="print nothing but errors")
    tell.add_argument("--debug", action="store_true", help="show where an error came from")
    tell.add_argument("--list", action="store_true", help="list the families and the public checkpoints known to fit, and end")
    tell.add_argument("--markdown", action="store_true", help="with --list: the checkpoints as a page")
    return parser


def main(arguments=None):
    """Run the command.

    Args:
        arguments: list of strings; default is ``sys.argv[1:]``.

    Returns:
        exit code: 0 done, 1 failed, 2 wrong usage.
    """
    parser = make_parser()
    try:
        options = parser.parse_args(arguments)
        if options.list:
            print(catalogue.markdown() if options.markdown else catalogue.text(), end="")
            return DONE
        for flag, value in (("--from", options.source), ("--to", options.target), ("--format", options.format)):
            if not value:
                parser.error(f"{flag} is missing")
        if options.markdown:
            parser.error("--markdown goes with --list")
    except SystemExit as end:
        return end.code
    before = _turn_termination_into_exit()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
            warnings.simplefilter("always", UserWarning)
            return _run(options)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
    except BrokenPipeError:
        raise
    except (KerasSuError, MissingDependencyError, OSError, MemoryError) as error:
        if options.debug:
            raise
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
    except Exception as error:  # a mistake of ours, not of the user
        if options.debug:
            raise
        print(f"error: {type(error).__name__}: {error}\nThis should not happen; --debug shows where it did.", file=sys.stderr)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return FAILED


def _run(options):
    if options.report and not Path(options.report).absolute().parent.is_dir():
        raise KerasSuError(f"--report {options.report!r}: there is no folder for it.")
    report = convert(
        Request(
            source=options.source,
            target=options.target,
            format=options.format,
            model=options.model,
            config=options.config,
            dtype=options.dtype,
            keep_tokens=read_keep_tokens(options.keep_tokens) if options.keep_tokens else None,
            settings=dict(options.set),
            verify=options.verify,
            force=options.force,
            progress=False if options.quiet else None,
        )
    )
    if options.report:
        with open(options.report, "w", encoding="utf-8") as file:
            json.dump(report.as_json(), file, ensure_ascii=False, indent=2)
    if not options.quiet:
        print(report)
    return DONE


def _turn_termination_into_exit():
    """Let SIGTERM unwind the stack, so that temporary files are removed. Only the main thread may ask for that."""

    def stop(*_):
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:
        return None
