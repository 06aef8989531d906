"""What anybody would try first: the figures beside which those of a model mean something."""

from collections import Counter

import numpy as np

from keras_su.errors import require


def _vectors(**arguments):
    text = require("sklearn.feature_extraction.text", "examples", "The baseline of this example")
    return text.TfidfVectorizer(**{"analyzer": "char", "ngram_range": (1, 2), "sublinear_tf": True, **arguments})


def majority(labels, count):
    """The most frequent training label, ``count`` times."""
    return [Counter(labels).most_common(1)[0][0]] * count


def tfidf_classifier(texts, labels, new_texts):
    """TF-IDF of characters and pairs of characters, and logistic regression: the labels of ``new_texts``."""
    linear = require("sklearn.linear_model", "examples", "The baseline of this example")
    vectors = _vectors()
    model = linear.LogisticRegression(C=10.0, max_iter=2000).fit(vectors.fit_transform(texts), labels)
    return model.predict(vectors.transform(new_texts)).tolist()


def tfidf_cosine(pairs, corpus=None):
    """Cosine of the TF-IDF vectors of both texts of each pair; ``corpus``, or else the pairs, says how rare a character is."""
    first, second = zip(*pairs)
    vectors = _vectors().fit(corpus if corpus is not None else [*first, *second])
    product = vectors.transform(first).multiply(vectors.transform(second))  # rows have length 1
    return np.asarray(product.sum(axis=1)).ravel()


def character_overlap(pairs):
    """Jaccard similarity of the sets of characters of both texts of each pair."""
    return np.array([len(set(a) & set(b)) / max(len(set(a) | set(b)), 1) for a, b in pairs])
