"""The families that ``model=`` can name."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_su.errors import KerasSuError, listing, unknown_name
from keras_su.weights.names import Fit

APPLICATIONS = ("encoder", "lm", "unilm")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Family:
    """A model family.

    Args:
        name: what ``model=`` says.
        spec: function from a :class:`~keras_su.models.config.Config` to a :class:`~keras_su.models.spec.Spec`.
        maps: name tables, one per dialect.
        applications: those of ``"encoder"``, ``"lm"``, ``"unilm"`` that make sense.
        aliases: further names for ``model=``. A name that several families claim is decided by the checkpoint; the family that
            claimed it first is the one without a checkpoint.
        model_types: values of ``model_type`` in Hugging Face configurations that mean this family; the first is written into
            exported ones. Empty when there is no such layout.
        claims: function from a configuration with such a ``model_type`` to whether it is really this family; families with
            claims are asked before those without.
        classes: names of the Hugging Face classes without and with heads, for exported configurations; a pooled vector is no head
            there.
        export: function ``(entries, spec) -> entries`` that completes an exported configuration.
        part_of: the family whose checkpoints hold this one as a part; such a family is never guessed.
        reason: why an application is refused, for the error.
    """

    name: str
    spec: Callable
    maps: tuple = ()
    applications: tuple[str, ...] = APPLICATIONS
    aliases: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    claims: Callable | None = None
    classes: tuple[str, str] = ("", "")
    export: Callable | None = None
    part_of: str | None = None
    reason: str = ""

    def __repr__(self):
        return f"<Family {self.name!r}>"

    def hugging_face_config(self, config, spec):
        """The entries of an exported ``config.json``.

        Raises:
            KerasSuError: the family, or something in this model, has no Hugging Face form.
        """
        if not self.model_types:
            raise KerasSuError(f"Model {self.name!r} has no Hugging Face layout. Save it as a TF checkpoint or a .keras file.")
        entries = {
            **config.export(),
            "model_type": self.model_types[0],
            "architectures": [self.classes[any(head.has_class for head in spec.heads)]],
            "vocab_size": spec.vocab_size,
        }
        if spec.embeddings.pad_id is not None:
            entries["pad_token_id"] = spec.embeddings.pad_id
        return entries if self.export is None else self.export(entries, spec)

    def check_application(self, application):
        """Refuse an application that the family does not have."""
        if application not in APPLICATIONS:
            raise unknown_name("application", application, APPLICATIONS)
        if application not in self.applications:
            raise KerasSuError(
                f"{self.name!r} cannot be used with application={application!r}{': ' + self.reason if self.reason else ''}. "
                f"Allowed: {', '.join(self.applications)}."
            )


_FAMILIES: dict[str, list[Family]] = {}


def register_family(name, **fields):
    """Make a family known to ``build_transformer_model``; see :class:`Family` for the fields.

    Returns:
        the :class:`Family`.
    """
    family = Family(name=name, **fields)
    _FAMILIES[name] = [family]
    for alias in family.aliases:
        claimed = [other for other in _FAMILIES.get(alias, []) if other.name != name]
        _FAMILIES[alias] = [*claimed, family]
    return family


def families():
    """All registered families, once each, in the order of registration."""
    return list(dict.fromkeys(family for claimed in _FAMILIES.values() for family in claimed))


def list_models():
    """Names that ``model=`` accepts."""
    return sorted(_FAMILIES)


def find_family(model, names=()):
    """The family behind a name or a :class:`Family`; ``names`` are the tensors of the checkpoint."""
    if isinstance(model, Family):
        return model
    if isinstance(model, str):
        key = model.lower()
        if key in _FAMILIES:
            claimed = _FAMILIES[key]
            return max(claimed, key=lambda family: fit(family, names).score) if len(claimed) > 1 and names else claimed[0]
        raise unknown_name("model", model, _FAMILIES, "Register your own with keras_su.models.register_family.")
    if callable(model):
        return Family(name=getattr(model, "__name__", "custom"), spec=model)
    raise KerasSuError(
        f"model: got {model!r}, expected a name ({listing(list_models())}), a Family or a function from Config to Spec."
    )


def family_of_config(values):
    """The family that a Hugging Face ``model_type`` names, or ``None``."""
    kind = values.get("model_type")
    meant = [family for family in families() if kind is not None and kind in family.model_types]
    for family in meant:
        if family.claims is not None and family.claims(values):
            return family
    return next((family for family in meant if family.claims is None), None)


def choose_family(model, values, names):
    """The family that the caller names, or that a configuration and the tensors of a checkpoint tell.

    Args:
        model: a name, a :class:`Family`, a function from a configuration to a Spec, or ``None`` to find out.
        values: settings of the configuration file.
        names: tensors of the checkpoint, empty without one.

    Raises:
        KerasSuError: the name is unknown, or nothing decides.
    """
    if model is not None:
        return find_family(model, names)
    family = family_of_config(values)
    ranked = rank_families(names) if names else []
    best = [pair for pair in ranked if pair[0].score > 0.5 and pair[0].score > ranked[0][0].score - 1e-9]
    # Published configurations name the wrong model_type now and then; the tensors do not lie.
    if family is not None and (not best or fit(family, names).explained >= best[0][0].explained):
        return family
    if len(best) == 1:
        return best[0][1]
    kind = values.get("model_type")
    told = f"model_type={kind!r} does not decide" if kind else "the configuration names no model_type"
    if best:
        fitting = listing(found.name for _, found in best)
        raise KerasSuError(f"Cannot tell the model family: {told}, and the tensors fit several. Pass model=, one of: {fitting}.")
    raise KerasSuError(f"Cannot tell the model family: {told}. Pass model=, one of: {listing(list_models(), 60)}.")


def fit(family, names):
    """How well the best table of a family explains tensor names."""
    return max((name_map.score(names) for name_map in family.maps), default=Fit(0.0, 0, 0, 0.0))


def rank_families(names):
    """Pairs ``(fit, family)`` of all families, the best fit first."""
    ranked = [(fit(family, names), family) for family in families() if family.part_of is None]
    return sorted(ranked, key=lambda pair: pair[0].score, reverse=True)
