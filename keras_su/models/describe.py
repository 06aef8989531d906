"""From a configuration to a Spec."""

from dataclasses import replace

from keras_su.errors import KerasSuError, bad_value, listing
from keras_su.models.heads import has_language_model
from keras_su.models.spec import Seq2Seq, Spec, with_rule

RULES = {"lm": "causal", "unilm": "unilm"}
"""The masks of the applications that write."""


def make_spec(model, family, config):
    """The Spec that a configuration describes, and the names of settings in its file that nobody knows.

    Args:
        model: what the caller gave as ``model=``; a Spec is taken as it is.
        family: a :class:`~keras_su.models.registry.Family`.
        config: a :class:`~keras_su.models.config.Config`.
    """
    application = config.application
    family.check_application(application)
    if isinstance(model, (Spec, Seq2Seq)):
        if config.overrides:
            raise KerasSuError(
                f"Settings {listing(config.overrides)} have no effect on a Spec. Use dataclasses.replace on it, or edit=."
            )
        spec, unknown = model, []
    else:
        spec = family.spec(config)
        unknown = config.done()
    if application in RULES:
        if not has_language_model(spec):
            raise KerasSuError(
                f"application={application!r} needs a language model head, which this Spec lacks. Add MaskedLM to its heads."
            )
        spec = with_rule(spec, RULES[application])
    return spec, unknown


def with_rows(spec, rows, padding_moves):
    """A Spec for the reduced vocabulary. Padding moves with its token, unless it is 0 by convention."""
    pad_id = spec.embeddings.pad_id
    if pad_id is not None and padding_moves and rows.keep_tokens is not None:
        if pad_id not in rows.keep_tokens:
            raise bad_value("keep_tokens", "a list without the padding", f"token ids that include {pad_id}, the padding")
        pad_id = rows.keep_tokens.index(pad_id)
    vocab_size = rows.resize(spec.vocab_size)
    embeddings = {side.side: replace(side.embeddings, pad_id=pad_id) for side in spec.sides}
    return spec.map_sides(lambda side: replace(side, vocab_size=vocab_size, embeddings=embeddings[side.side]))
