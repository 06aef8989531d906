"""Reading KgCLUE's files, and making training examples from its questions; see ``task_kgclue_seq2seq.py``."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from tqdm import tqdm

MAX_QUESTION, MAX_LENGTH = 63, 128  # tokens of a question, and of question and answer together
RIVALS = 7  # other predicates that a training answer is compared with


class Triple(NamedTuple):
    """An entry of the graph, in the order in which the model writes it; the object is looked up, not written."""

    subject: str
    predicate: str
    meaning: str
    object: str


def triple(subject, predicate, object_):
    """A triple of the files, where the meaning of an ambiguous subject stands behind it: ``牛顿（力的单位）``."""
    meaning = ""
    if subject.endswith("）") and "（" in subject:
        subject, meaning = subject[:-1].split("（", 1)
    return Triple(subject, predicate, meaning, " ".join(object_.split()))


def read_knowledge(paths):
    """All triples of some files with the lines they stand on."""
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in tqdm(lines, desc=Path(path).name, unit=" triples", disable=None):
                fields = line.rstrip("\n").split("\t")
                if len(fields) == 3:
                    yield triple(*fields), line.rstrip("\n")


def read_questions(path):
    """Pairs of a question and the triple that answers it."""
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return [(row["question"], triple(*(field.strip() for field in row["answer"].split("|||")))) for row in rows]


class Lessons(keras.utils.PyDataset):
    """Batches of training questions, drawn anew in every epoch.

    The questions of the evaluation are about predicates and subjects that training never shows, so learning answers by heart
    is useless. Three things are done against it:

    * In half of the questions the subject is replaced by another one. A predicate that the question names is replaced, too, at
      times by random tokens. What then still helps is to copy.
    * Frequent predicates are drawn less often than they occur.
    * Every answer has *rivals*, other predicates of the training answers, half of them with a character in common. They stand
      for the other branches of the tree, against which the answer has to win in the search.
    """

    def __init__(self, questions, knowledge, batch_size, steps, seed):
        super().__init__()
        self.batch_size, self.steps, self.random = batch_size, steps, np.random.default_rng(seed)
        self.start, self.end = knowledge.tokenizer.start_id, knowledge.end
        self.vocab_size = knowledge.tokenizer.vocab_size
        self.rows = [(knowledge.ids(question)[:MAX_QUESTION], *map(knowledge.ids, entry[:3])) for question, entry in questions]
        counts = Counter(tuple(row[2]) for row in self.rows)
        weights = np.array([counts[tuple(row[2])] ** -0.5 for row in self.rows])
        self.weights, self.predicates = weights / weights.sum(), sorted(counts)
        self.with_token = defaultdict(list)
        for predicate in self.predicates:
            for token in set(predicate):
                self.with_token[token].append(predicate)
        self.on_epoch_end()

    def __len__(self):
        return len(self.batches)

    def on_epoch_end(self):
        """Draw the examples of the next epoch and put those of similar length together."""
        drawn = self.random.choice(len(self.rows), size=self.steps * self.batch_size, p=self.weights)
        examples = sorted((self.varied(*self.rows[i]) for i in drawn), key=lambda example: padded_length(*example))
        batches = [examples[i : i + self.batch_size] for i in range(0, len(examples), self.batch_size)]
        self.batches = [batches[i] for i in self.random.permutation(len(batches))]

    def varied(self, question, subject, predicate, meaning):
        """A training example ``(question, fields)``, perhaps about another subject and predicate."""
        where = find(question, subject)
        if where is None:
            return question, (subject, predicate, meaning)
        before, after = question[:where], question[where + len(subject) :]
        if self.random.random() < 0.3:
            new = list(self.predicates[self.random.integers(len(self.predicates))])
            if self.random.random() < 0.2:
                new = self.random.integers(4, self.vocab_size, len(new)).tolist()
            for part in (before, after):
                place = find(part, predicate)
                if place is not None:
                    part[place : place + len(predicate)] = new
                    predicate = new
                    break
        if self.random.random() < 0.5:
            _, subject, _, meaning = self.rows[self.random.integers(len(self.rows))]
        return (before + subject + after)[:MAX_QUESTION], (subject, predicate, meaning)

    def rivals(self, predicate):
        """For every token of ``predicate [SEP]`` the other tokens that may stand there while the beginning is the same."""
        token = predicate[self.random.integers(len(predicate))] if predicate else None
        near = self.with_token.get(token) or self.predicates
        others = [(near if i % 2 else self.predicates) for i in range(RIVALS)]
        others = [(*pool[self.random.integers(len(pool))], self.end) for pool in others]
        own = (*predicate, self.end)
        return [{o[i] for o in others if o[:i] == own[:i] and len(o) > i} - {own[i]} for i in range(len(own))]

    def __getitem__(self, index):
        """``([token_ids, segment_ids, positions], targets, weights)``; at ``positions`` the next token is to be learned."""
        examples = self.batches[index]
        length = max(padded_length(*example) for example in examples)
        token_ids, segment_ids = np.zeros((2, len(examples), length), np.int32)
        positions = np.zeros((len(examples), length // 2), np.int32)
        targets = np.zeros((len(examples), length // 2, 1 + RIVALS), np.int32)
        weights = np.zeros((len(examples), length // 2), np.float32)
        for row, (question, fields) in enumerate(examples):
            ids = [self.start, *question, self.end]
            first, answer = len(ids), [token for field in fields for token in (*field, self.end)]
            answer = answer[: length // 2]
            token_ids[row, : first + len(answer)] = ids + answer
            segment_ids[row, first : first + len(answer)] = 1
            positions[row, : len(answer)] = np.arange(first - 1, first + len(answer) - 1)
            targets[row, : len(answer), 0] = answer
            # The meaning is hardly ever in the question; learning it by heart is no help with other subjects.
            weights[row, : len(answer)] = 0.1
            weights[row, : len(fields[0]) + len(fields[1]) + 2] = 1
            for place, others in enumerate(self.rivals(fields[1]), len(fields[0]) + 1):
                targets[row, place, 1 : 1 + len(others)] = sorted(others)
        return (token_ids, segment_ids, positions), targets, weights


def find(ids, part):
    """Where ``part`` begins in ``ids``, or None."""
    return next((i for i in range(len(ids) - len(part) + 1) if ids[i : i + len(part)] == part), None) if part else None


def padded_length(question, fields):
    """A multiple of 16 that holds question and answer, the answer in one half. Few shapes mean few compilations."""
    answer = sum(map(len, fields)) + 3
    return min(-(-max(len(question) + 2 + answer, 2 * answer) // 16) * 16, MAX_LENGTH)
