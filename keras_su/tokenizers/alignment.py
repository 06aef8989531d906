"""Where tokens stand in the text that they came from."""

from keras_su.tokenizers.text import normalize_with_positions


def align(text, pieces, lower):
    """For each piece the positions of its characters in ``text``.

    Pieces are looked for one after another in the normal form of the text; one that is not there has no positions, and the
    search goes on where it was. A character that becomes several (a Hangul syllable) appears once for each of them.

    Args:
        text: the text as it was before tokenizing.
        pieces: texts of the tokens in order, without ``##``; ``None`` for tokens that stand for no text.
        lower: whether the tokenizer lower-cases.

    Returns:
        One list of positions per piece.

    >>> align("Café 한", ["ca", "fe", None, "\\u1112\\u1161\\u11ab"], lower=True)
    [[0, 1], [2, 3], [], [5, 5, 5]]
    """
    normal, positions = normalize_with_positions(text, lower)
    aligned, offset = [], 0
    for piece in pieces:
        start = normal.find(piece, offset) if piece else -1
        if start < 0:
            aligned.append([])
            continue
        offset = start + len(piece)
        aligned.append(positions[start:offset])
    return aligned
