"""The front door: from a configuration and a checkpoint to a model."""

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import keras

from keras_su.errors import KerasSuError, bad_value, listing, unknown_name
from keras_su.hub import resolve
from keras_su.models.classes import EXTENSIONS
from keras_su.models.config import Config, read_json
from keras_su.models.describe import make_spec, with_rows
from keras_su.models.graph import make_graph
from keras_su.models.handle import Transformer
from keras_su.models.model_class import ModelClass
from keras_su.models.registry import APPLICATIONS, Family, choose_family, rank_families
from keras_su.models.spec import Seq2Seq, Spec
from keras_su.weights.load import VocabularyRows
from keras_su.weights.readers import open_checkpoint


def build_transformer_model(
    config_path=None,
    checkpoint_path=None,
    model="bert",
    application="encoder",
    return_keras_model=True,
    *,
    keep_tokens=None,
    compound_tokens=None,
    additional_input_layers=None,
    layer_norm_cond=None,
    prefix="",
    layers=None,
    edit=None,
    remat=None,
    dtype=None,
    name=None,
    strict=True,
    waive=(),
    ignore_invalid_weights=False,
    **overrides,
):
    """Build a model, and load its weights when a checkpoint is given.

    Args:
        config_path: a configuration file (Google, Hugging Face or bert4keras keys), a dictionary, a Hugging Face folder or an
            ``hf://owner/name`` or ``ms://owner/name`` address (their weights are loaded, too), or ``None`` when ``overrides`` say
            everything.
        checkpoint_path: prefix of a TF checkpoint, a safetensors, ``.bin``, ``.npz`` or Keras weight file, a folder, an address,
            a dictionary name -> array, or ``None`` for random weights. Neither TensorFlow nor torch is needed for any of them.
        model: family name (see :func:`list_models`), a :class:`~keras_su.models.registry.Family`, a
            :class:`~keras_su.models.spec.Spec`, a function from a configuration to a Spec, a class of
            :mod:`keras_su.models.classes` or your own subclass of one, or ``None`` to find out from
            ``config.json`` and, failing that, from the tensor names.
        application: ``"encoder"``, ``"lm"`` (causal mask) or ``"unilm"`` (segment 0 bidirectional, the rest causal); the last
            two switch the language model head on.
        return_keras_model: ``False`` returns the :class:`~keras_su.models.handle.Transformer` handle instead of the
            ``keras.Model``.
        keep_tokens: ids of the vocabulary to keep, in their new order.
        compound_tokens: further tokens, each a list of (new) ids whose mean embedding it gets, or a pair ``(ids, weights)``.
        additional_input_layers: Keras input, or a list of them, appended to the inputs of the model.
        layer_norm_cond: Keras tensor that modulates every layer norm; see ``layer_norm_cond_hidden_size`` and ``..._act``.
        prefix: put before every layer name, so that several models fit into one graph.
        layers: dictionary of existing layers to share, by name.
        edit: function ``Spec -> Spec`` applied before building.
        remat: recompute activations in the backward pass instead of keeping them: ``True`` for the feed-forward layers of all
            blocks, and the attention layers where they have no dropout; or a list of such layer names.
        dtype: dtype or policy of all layers; default is the global policy.
        name: of the Keras model.
        strict: raise when the checkpoint leaves a variable unfilled; ``False`` warns.
        waive: regular expressions of variables or tensors that may be missing.
        ignore_invalid_weights: bert4keras' name for ``strict=False``.
        **overrides: settings that win over the configuration, e.g. ``num_hidden_layers=3``, ``with_pool=True``,
            ``with_nsp=True``, ``with_mlm="linear"``, ``hierarchical_position=True``, ``custom_position_ids=True``,
            ``dropout_rate=0.3``.

    Returns:
        a functional ``keras.Model`` whose inputs are token ids, segment ids (and what was added), int32 ``(batch, length)``.
        Outputs: hidden states ``(batch, length, hidden_size)`` without heads; otherwise pool ``(batch, hidden_size)`` or
        next-sentence probabilities ``(batch, 2)``, then masked language model ``(batch, length, vocab_size)``. One output is a
        tensor, several are a list.

    Raises:
        KerasSuError: unknown names or settings, contradictory configurations.
        CheckpointError: a file that cannot be read or does not fit.

    >>> config = dict(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    >>> build_transformer_model(config, with_mlm="linear").output.shape
    (None, None, 100)
    """
    config_path, checkpoint_path = _local(config_path), _local(checkpoint_path)
    values, folder = _read_config(config_path)
    if checkpoint_path is None and folder is not None:
        checkpoint_path = folder
    if isinstance(model, type) and issubclass(model, ModelClass):
        _refuse(model, edit=edit, remat=remat, waive=waive)
        options = {
            "layers": layers,
            "prefix": prefix,
            "name": name,
            "dtype": dtype,
            "ignore_invalid_weights": ignore_invalid_weights or not strict,
        }
        options |= {"keep_tokens": keep_tokens, "compound_tokens": compound_tokens}
        conditions = {"layer_norm_cond": layer_norm_cond, "additional_input_layers": additional_input_layers}
        settings = {**values, **overrides}
        handle = _build_class(model, application, settings, options, conditions, checkpoint_path)
        return handle.model if return_keras_model else handle
    with nullcontext() if checkpoint_path is None else open_checkpoint(checkpoint_path) as reader:
        if isinstance(model, (Spec, Seq2Seq)):
            family = Family(name="custom", spec=lambda config: model)
        else:
            family = choose_family(model, values, () if reader is None else reader.names())
        config = Config(values, overrides, family.name, application, reader)
        spec, unknown = make_spec(model, family, config)
        config.reader = None
        rows = VocabularyRows(keep_tokens, compound_tokens)
        if rows:
            spec = with_rows(spec, rows, config.is_setting("pad_token_id"))
        if edit is not None:
            spec = edit(spec)
            if not isinstance(spec, (Spec, Seq2Seq)):
                raise bad_value("edit returned", type(spec).__name__, "a Spec")
            config.refuse_export(edit=getattr(edit, "__name__", "a function"))  # the settings no longer tell what the model is
        graph = make_graph(
            spec,
            prefix=prefix,
            layers=layers,
            condition=layer_norm_cond,
            extra_inputs=additional_input_layers,
            name=name,
            dtype=dtype,
        )
        _build(graph, remat)
        handle = Transformer(graph, family, config, rows)
        if reader is not None:
            _load(handle, reader, strict and not ignore_invalid_weights, waive, unknown)
        elif unknown:
            warnings.warn(f"Unknown settings in the configuration: {listing(unknown)}.", stacklevel=2)
    return handle.model if return_keras_model else handle


def _build_class(model, application, settings, options, conditions, checkpoint):
    """An instance of a model class, built and loaded."""
    if application not in APPLICATIONS:
        raise unknown_name("application", application, APPLICATIONS)
    handle = EXTENSIONS.get(application, lambda base: base)(model)(**settings, **options)
    handle.build(**{**settings, **conditions})
    if checkpoint is not None:
        handle.load_weights_from_checkpoint(checkpoint)
    return handle


def _refuse(model, **options):
    for name, value in options.items():
        if value:
            raise KerasSuError(f"{name}= is for families; {model.__name__} is a class: override its methods instead.")


def _local(path):
    """The path of a downloaded copy for ``hf://`` and ``ms://`` addresses; everything else as it is."""
    return resolve(path) if isinstance(path, str) else path


def _read_config(config_path):
    """Settings, and the folder they came from when a folder was given."""
    if config_path is None:
        return {}, None
    if isinstance(config_path, Mapping):
        return dict(config_path), None
    path = Path(config_path)
    if not path.is_dir():
        return read_json(path), None
    for candidate in ("config.json", "bert_config.json"):
        if (path / candidate).is_file():
            return read_json(path / candidate), path
    others = sorted(p.name for p in path.glob("*.json"))
    raise KerasSuError(
        f"The folder {str(path)!r} has no config.json or bert_config.json. It has: {listing(others) or 'no JSON file'}."
    )


def _build(graph, remat):
    if not remat:
        return graph.build()
    if remat is True:
        # The parts hold nearly all activations. One with dropout inside is left out: JAX cannot replay its random state.
        remat = [
            f"{side.side}{side.block_name(index)}-{residual.part.suffix}"
            for side in graph.spec.sides
            for index in range(side.num_layers)
            for residual in side.block_at(index).residuals
            if not getattr(residual.part, "dropout", 0.0)
        ]
    with keras.RematScope(mode="list_of_layers", layer_names=[graph.prefix + name for name in remat]):
        return graph.build()


def _load(handle, reader, strict, waive, unknown_settings):
    def better():
        ranked = rank_families(reader.names())
        if not ranked or ranked[0][0].score < 0.5:
            return "  No registered family explains the tensor names of the file."
        best, family = ranked[0]
        if family is handle.family:
            return ""
        return f"  Best fit among the registered families: {family.name!r} ({best.found} of {best.rows} names)."

    report = handle.load_weights_from_checkpoint(reader, strict=strict, waive=waive, alternatives=better)
    if report is None:
        return
    report.settings = unknown_settings
    if not report.complete or report.unused or report.settings:
        warnings.warn(str(report), stacklevel=3)
