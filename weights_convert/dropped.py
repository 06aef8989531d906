"""Why a tensor of the source is not in the target."""

import re

import numpy as np

_SLOTS = re.compile(
    r"(?i)(^|[/.])(global_step|beta[12]_power|signal_early_stopping\w*|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH)\b"
    r"|/(adam|lamb|lars|adafactor)?_?[mv]$|/Adam(_\d+)?$|_slot_v\w*$|AdamWeightDecay|optimizer|\bexp_avg"
)
_BUFFERS = re.compile(r"(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|embed_positions|rotary|num_batches_tracked)")
_TIED = re.compile(r"(decoder|lm_head|embed_tokens|embed_out|generator_lm_head|mlm_linear_2)\.(weight|bias)$")
UNTIED = "differs from what this family ties it to,"
"""How the reason for an output matrix begins that is not the table of the tokens."""


def explain(reader, name_map, canonical, used, family, skipped):
    """The reason for every tensor that is not carried over.

    Args:
        reader: the open source.
        name_map: its name table.
        canonical: the table's spelling -> name in the file.
        used: names in the file that are carried over.
        family: the model family.
        skipped: heads that are not carried over (:class:`~weights_convert.heads.Skipped`).

    Returns:
        dictionary name in the file -> reason.
    """
    shapes = {}
    for name in used:
        shapes.setdefault(tuple(reader.shape(name)), []).append(name)
    reasons = {}
    for spelled, name in canonical.items():
        if name in used:
            continue
        if _SLOTS.search(spelled):
            reasons[name] = "optimizer slot or step counter"
        elif (twin := _twin(reader, name, shapes)) is not None:
            reasons[name] = f"tied duplicate of {twin}"
        elif name_map.ignores(spelled):
            reasons[name] = _ignored(spelled, shapes.get(tuple(reader.shape(name)), []))
        else:
            reasons[name] = _place(spelled, name_map, family, skipped)
    known = set(canonical.values())
    for name in reader.names():
        if name not in known:
            reasons[name] = "second spelling of a tensor that is carried over"
    return reasons


def _twin(reader, name, shapes):
    """A tensor that is carried over and has the same numbers. Constant ones, such as fresh biases, agree by chance."""
    candidates = shapes.get(tuple(reader.shape(name)), [])
    if not candidates:
        return None
    rows = [0] if reader.shape(name) else None
    first = reader.read(name, rows=rows)
    for candidate in candidates:
        if np.array_equal(first, reader.read(candidate, rows=rows)):
            whole = reader.read(name)
            if whole.size > 1 and np.ptp(whole.astype("float32")) > 0 and np.array_equal(whole, reader.read(candidate)):
                return candidate
    return None


def _ignored(spelled, same_shape):
    if _BUFFERS.search(spelled):
        return "buffer, computed anew"
    if same_shape and _TIED.search(spelled):
        return f"{UNTIED} {same_shape[0]}; its numbers are not carried over"
    return "carries no parameters of the family"


def _place(spelled, name_map, family, skipped):
    path = name_map.path_of(spelled)
    if path is None:
        return f"unknown to family {family.name!r}"
    for head in skipped:
        if path in head.variables:
            return f"of {head.option}, {head.reason}"
    return f"for {path.split('/')[0]}, which this model does not have"
