"""Convert checkpoints between Hugging Face folders, TensorFlow checkpoints and ``.keras`` files.

On the command line: ``python -m weights_convert --help``. In a program::

    from weights_convert import Request, convert

    report = convert(Request(source="chinese_L-12_H-768_A-12", target="bert-base-chinese", format="hf"))
    print(report)
"""

from weights_convert.conversion import Request, convert

__all__ = ["Request", "convert"]
