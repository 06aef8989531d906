"""The families that ``model=`` can name."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_su.errors import KerasSuError, listing, unknown_name

APPLICATIONS = ("encoder", "lm", "unilm")


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A model family.

    Args:
        name: what ``model=`` says.
        spec: function from a :class:`~keras_su.models.config.Config` to a :class:`~keras_su.models.spec.Spec`.
        maps: name tables, one per dialect.
        applications: those of ``"encoder"``, ``"lm"``, ``"unilm"`` that make sense.
        aliases: further names for ``model=``.
        model_types: values of ``model_type`` in Hugging Face configurations that mean this family.
        model_type: the one to write into an exported configuration.
        config: function from a Spec to the ``config.json`` entries of an export.
        reason: why an application is refused, for the error.
    """

    name: str
    spec: Callable
    maps: tuple = ()
    applications: tuple[str, ...] = APPLICATIONS
    aliases: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    model_type: str | None = None
    config: Callable | None = None
    reason: str = ""

    def check_application(self, application):
        """Refuse an application that the family does not have."""
        if application not in APPLICATIONS:
            raise unknown_name("application", application, APPLICATIONS)
        if application not in self.applications:
            raise KerasSuError(
                f"{self.name!r} cannot be used with application={application!r}{': ' + self.reason if self.reason else ''}. "
                f"Allowed: {', '.join(self.applications)}."
            )


_FAMILIES: dict[str, Family] = {}


def register_family(name, **fields):
    """Make a family known to ``build_transformer_model``; see :class:`Family` for the fields.

    Returns:
        the :class:`Family`.
    """
    family = Family(name=name, **fields)
    for key in (name, *family.aliases):
        _FAMILIES[key] = family
    return family


def families():
    """All registered families, once each, in the order of registration."""
    return list(dict.fromkeys(_FAMILIES.values()))


def list_models():
    """Names that ``model=`` accepts."""
    return sorted(_FAMILIES)


def find_family(model):
    """The family behind a name or a :class:`Family`."""
    if isinstance(model, Family):
        return model
    if isinstance(model, str):
        key = model.lower()
        if key in _FAMILIES:
            return _FAMILIES[key]
        raise unknown_name("model", model, _FAMILIES, "Register your own with keras_su.models.register_family.")
    if callable(model):
        return Family(name=getattr(model, "__name__", "custom"), spec=model)
    raise KerasSuError(
        f"model: got {model!r}, expected a name ({listing(list_models())}), a Family or a function from Config to Spec."
    )


def family_of_config(values):
    """The family that a Hugging Face ``model_type`` names, or ``None``."""
    kind = values.get("model_type")
    for family in families():
        if kind is not None and kind in family.model_types:
            return family
    return None


def rank_families(names):
    """Families by how well one of their tables explains tensor names: ``[(score, found, rows, family), ...]``, best first."""
    ranked = []
    for family in families():
        scores = [name_map.score(names) for name_map in family.maps]
        if scores:
            ranked.append((*max(scores), family))
    return sorted(ranked, key=lambda row: row[0], reverse=True)
