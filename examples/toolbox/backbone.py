"""The model under an example: a published one, or a small one that learns from scratch in minutes."""

from dataclasses import dataclass
from pathlib import Path

from keras_su.models import build_transformer_model
from keras_su.tokenizers import Tokenizer, save_vocab
from toolbox.vocabulary import character_vocabulary


def small_config(vocab_size, layers=4, width=128, positions=512):
    """A configuration of BERT that learns from scratch in minutes on a CPU."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(2, width // 32),
        "intermediate_size": 4 * width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": positions,
        "type_vocab_size": 2,
        "initializer_range": 0.05,  # BERT's 0.02 is for a width of 768; narrower layers need more to start with
    }


@dataclass(frozen=True)
class Backbone:
    """A tokenizer and everything that `build_transformer_model` needs beside the options of a task.

    Attributes:
        tokenizer: from texts to ids.
        config: settings, or the path of a file or folder of them.
        checkpoint: weights, or ``None`` (from scratch, or in the folder).
        family: of the model, or ``None`` for what the folder says.
    """

    tokenizer: Tokenizer
    config: object
    checkpoint: str | None = None
    family: str | None = "bert"

    @classmethod
    def of(cls, arguments, texts, *, least=2, **sizes):
        """What the command line says; from scratch, the vocabulary is the characters of ``texts``.

        Args:
            arguments: what `Options.read` returned.
            texts: training texts.
            least: how often a character must occur in them, see `character_vocabulary`.
            **sizes: arguments of `small_config`.
        """
        if arguments.pretrained:
            return cls.load(arguments.pretrained, arguments.family)
        family = arguments.family or "bert"
        if arguments.config:
            return cls(Tokenizer(arguments.vocab, do_lower_case=True), arguments.config, arguments.checkpoint, family)
        tokenizer = Tokenizer(character_vocabulary(texts, 1 if arguments.smoke else least), do_lower_case=True)
        if arguments.smoke:
            sizes = {**sizes, "layers": 1, "width": 32}
        return cls(tokenizer, small_config(tokenizer.vocab_size, **sizes), family=family)

    @classmethod
    def load(cls, folder, family=None):
        """What is in a folder: ``config.json``, weights and ``vocab.txt``."""
        return cls(Tokenizer(Path(folder) / "vocab.txt", do_lower_case=True), str(folder), family=family)

    def build(self, **options):
        """The handle of a new model with the weights of the checkpoint; ``handle.model`` is the Keras model."""
        return build_transformer_model(self.config, self.checkpoint, model=self.family, return_keras_model=False, **options)

    def save(self, folder, handle):
        """Write a folder that ``--pretrained`` reads."""
        handle.save_pretrained(folder)
        save_vocab(Path(folder) / "vocab.txt", self.tokenizer._token_dict)
