"""Answers that follow a grammar: a regular expression, a JSON schema, or rules. The engine is llguidance."""

import json
import operator
from functools import cached_property

import numpy as np

from keras_su.decoding.candidates import Constraint
from keras_su.decoding.token_bytes import token_bytes
from keras_su.errors import KerasSuError, bad_value, require


class GrammarConstraint(Constraint):
    """Allow only tokens that continue a text of a grammar, and the end id where the text is complete.

    A grammar is about text, and so needs to know what each token writes. See ``token_bytes`` for how it is read from a tokenizer:
    the text of a WordPiece vocabulary has no blanks; in the others a text often begins with one, for which the grammar has to
    leave room (``" ?(yes|no)"``). A text may be written in any tokens that add up to it.

    A vocabulary that cannot write all characters leads into dead ends: what begins well can turn out to have no continuation.
    Such hypotheses have probability zero from there on.

    Args:
        vocabulary: tokenizer, or list of ``str`` or ``bytes`` in the order of ids.
        end_id: closes an answer; by default that of the tokenizer.
        regex: regular expression that the whole answer matches (the syntax of Rust's crate ``regex``).
        json_schema: a JSON schema as ``dict``, ``bool`` or text.
        lark: rules in the engine's dialect of Lark, with the start symbol ``start``.
        gbnf: rules in llama.cpp's form of EBNF, with the start symbol ``root``.
        normalize: see `Constraint`.

    Raises:
        MissingDependencyError: ``llguidance`` is not installed.
        KerasSuError: not exactly one grammar, or one that the engine does not understand, or one of which the vocabulary cannot
            write any text; in a search, when the grammar is too complex for the engine.

    >>> from keras_su.decoding import beam_search
    >>> uniform = lambda hypotheses: np.full((len(hypotheses), 6), -np.log(6.0))
    >>> dates = GrammarConstraint(["[SEP]", "1", "2", "月", "日", "年"], end_id=0, regex="[12]月(1|2)日")
    >>> found = beam_search(uniform, [[1]], beam=4, max_new_tokens=5, end_ids=0, processors=[dates])
    >>> [each.tokens.tolist() for each in found[0]]
    [[1, 3, 1, 4, 0], [1, 3, 2, 4, 0], [2, 3, 1, 4, 0], [2, 3, 2, 4, 0]]

    Reference: https://github.com/guidance-ai/llguidance, with the syntax of its grammars.
    """

    def __init__(self, vocabulary, end_id=None, *, regex=None, json_schema=None, lark=None, gbnf=None, normalize=True):
        super().__init__(normalize)
        engine = require("llguidance", "grammar", "GrammarConstraint")
        tokens = token_bytes(vocabulary)
        end_id = getattr(vocabulary, "end_id", None) if end_id is None else end_id
        try:
            self.end_id = operator.index(end_id)
        except TypeError:
            raise bad_value("end_id", end_id, "the id that closes an answer") from None
        if not 0 <= self.end_id < len(tokens):
            raise bad_value("end_id", end_id, f"an id of the vocabulary, 0 to {len(tokens) - 1}")
        tokenizer = engine.LLTokenizer(
            engine.TokenizerWrapper(_Vocabulary(tokens, self.end_id)), n_vocab=len(tokens), eos_token=self.end_id
        )
        rules = _rules(engine, regex=regex, json_schema=json_schema, lark=lark, gbnf=gbnf)
        matcher = engine.LLMatcher(tokenizer, rules, log_level=0)
        if matcher.is_error():
            raise KerasSuError(f"The engine does not understand the grammar: {matcher.get_error().strip()}")
        self._start = _State(matcher)
        if self._start.following is None:
            raise KerasSuError("The vocabulary cannot write the beginning of any text of the grammar.")

    def allowed(self, hypotheses):
        """What the grammar says for every row, and in dead ends the end id, which ``rescore`` takes away; see `Constraint`."""
        ids = [state.following for state in self._states(hypotheses)]
        ids = [np.array([self.end_id]) if following is None else following for following in ids]
        return np.repeat(np.arange(len(ids)), [len(following) for following in ids]), np.concatenate(ids)

    def rescore(self, candidates, hypotheses):
        """See `Constraint`; rows in dead ends have probability zero."""
        candidates = super().rescore(candidates, hypotheses)
        dead = np.array([state.following is None for state in self._states(hypotheses)])
        return candidates.with_values(np.where(dead[candidates.rows], -np.inf, candidates.values))

    def _states(self, hypotheses):
        """``(rows,)`` of `_State`; each moves along with its hypothesis."""

        def advance(before, tokens):
            after = np.empty(len(before), dtype=object)
            after[:] = [state.after(token) for state, token in zip(before, tokens.tolist())]
            return after

        return hypotheses.carry(("grammar", id(self)), lambda: np.full(len(hypotheses), self._start, dtype=object), advance)


class _State:
    """Where a text stands in the grammar; never changed, since several hypotheses may go on from it."""

    def __init__(self, matcher):
        self._matcher = matcher

    def after(self, token):
        """The state after one more token; a dead end for tokens that may not follow."""
        if self.following is None or token not in self.following:
            return _State(None)
        matcher = self._matcher.deep_copy()
        matcher.consume_token(token)
        return _State(matcher)

    @cached_property
    def following(self):
        """Ids that may follow, ``(n,)`` int64 ascending, the end id where the text is complete; ``None`` in a dead end."""
        if self._matcher is None:
            return None
        ids = np.flatnonzero(np.frombuffer(self._matcher.compute_logit_bias(), np.uint8))
        if not self._matcher.is_error():
            return ids
        reason = self._matcher.get_error().partition("\n")[0]
        if reason == "NoExtensionBias":  # no token goes on
            return None
        raise KerasSuError(f"The engine gives up on the grammar: {reason}")


class _Vocabulary:
    """What the engine asks about a vocabulary."""

    bos_token_id = None

    def __init__(self, tokens, end_id):
        self.tokens = list(tokens)
        self.tokens[end_id] = b"[END]"  # the engine wants a name; as a special token it writes nothing
        self.eos_token_id = end_id
        self.special_token_ids = [end_id]

    def __call__(self, text):
        return []  # how a text is tokenized, which the engine asks only when it forces tokens: see `_rules`


def _rules(engine, **forms):
    """The one grammar that is given, in the engine's Lark."""
    given = [name for name, value in forms.items() if value is not None]
    if len(given) != 1:
        raise bad_value("grammar", given, f"exactly one of {', '.join(forms)}")
    (form,) = given
    text = forms[form]
    if not isinstance(text, (str, dict, bool) if form == "json_schema" else str):
        raise bad_value(form, text, "a text" + " or a dict" * (form == "json_schema"))
    try:
        if form == "regex":
            text = json.loads(engine.LLMatcher.grammar_from_regex(text))["grammars"][0]["lark_grammar"]
        elif form == "json_schema":
            text = "start: %json " + json.dumps(json.loads(text) if isinstance(text, str) else text)
        elif form == "gbnf":
            text = engine.grammar_from("gbnf", text)
    except ValueError as error:
        raise bad_value(form, text, f"a grammar that the engine understands ({error})") from error
    # Where all of the next characters are certain, the engine would insist on the tokens that a tokenizer makes of them. It
    # cannot know how this one goes on from here; and every spelling is right as text.
    return text + '\n%llguidance {"no_forcing": true}\n'
