"""Reading comprehension: the answer to a question, quoted from a passage.

Two ways to make a BERT answer, and both may only say what stands in the passage:

* ``--head mlm``: the model reads ``[CLS] [MASK] ... [MASK] [SEP] question [SEP] passage [SEP]`` and fills in all masks at once.
  Of all pieces of the passage, the one is taken that the masks find most probable, with ``[SEP]`` behind it.
* ``--head seq2seq``: a UniLM reads ``[CLS] question [SEP] passage [SEP]`` and writes ``answer [SEP]`` token by token, in a beam
  search that never leaves the passage (`PassageConstraint`).

Where a question has several passages, equal answers join their votes.

Without pre-training, a few hundred questions teach a model next to nothing. From scratch most of the training questions are
therefore made from the training passages: a sentence with a piece taken out asks for that piece.

    python task_reading_comprehension.py --data-dir qa_datasets --task webqa --head mlm
    python task_reading_comprehension.py --data-dir cmrc2018 --task cmrc --head seq2seq --pretrained chinese-roberta-wwm-ext
    python task_reading_comprehension.py --smoke

The folder holds WebQA.json and SogouQA.json (https://github.com/bojone/dgcnn_for_reading_comprehension), every fifth passage
for evaluation; or cmrc2018_trial.json and cmrc2018_dev.json (https://github.com/ymcui/cmrc2018). EM and F1 (of the longest common
subsequence of characters) are those of the most similar reference. The articles: https://kexue.fm/archives/7148 (mlm) and
https://kexue.fm/archives/7115 (seq2seq).
"""

from dataclasses import dataclass, replace

import keras
import numpy as np
from tqdm import tqdm

from keras_su.data import BucketedDataset
from keras_su.decoding import Beam, PassageConstraint, generate
from keras_su.losses import Seq2SeqCrossentropy
from keras_su.models.heads import MaskedLM
from readers.reading import best_piece, best_sentence, cloze, figures, place, read_reading, vote, window, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded

NO_LABEL = 0  # the id of [PAD]: a mask behind the answer and its [SEP] has nothing to learn


def parse(argv):
    options = Options(
        __doc__,
        synthetic=write_synthetic,
        scratch={"epochs": 20, "max_length": 128, "max_question": 32, "max_answer": 24, "cloze": 0.75},
        pretrained={"epochs": 5, "batch_size": 16, "max_length": 512, "max_question": 64, "max_answer": 32, "cloze": 0.0},
    )
    options.add_argument("--task", choices=("webqa", "cmrc"), default="webqa")
    options.add_argument("--head", choices=("mlm", "seq2seq"), default="mlm")
    options.add_argument("--max-question", type=int, help="most tokens of a question")
    options.add_argument("--max-answer", type=int, help="most tokens of an answer")
    options.add_argument("--cloze", type=float, help="part of the training questions that is made from passages")
    return options.read(argv)


@dataclass(frozen=True)
class Reading:
    """From questions to ids. Of a long passage the model reads the part that has most in common with the question."""

    tokenizer: object
    arguments: object
    random: np.random.Generator

    def ids(self, text):
        return self.tokenizer.encode(text)[0][1:-1]

    def parts(self, question, passage, answer=""):
        """Ids of question, visible part of the passage, and answer; and where the tokens of that part stand in the text."""
        arguments = self.arguments
        question, whole, answer = self.ids(question)[: arguments.max_question], self.ids(passage), self.ids(answer)
        answer = answer[: arguments.max_answer - 1]
        room = arguments.max_length - arguments.max_question - arguments.max_answer - 4
        start, stop = window(question, whole, room, place(whole, answer))
        return question, whole[start:stop], answer, self.tokenizer.offsets(passage)[1:-1][start:stop]

    def lesson(self, question):
        """A question to learn from, or, by chance, one that is made from its passage."""
        passages = [passage for passage in question.passages if passage.answer]
        passage = passages[self.random.integers(len(passages))]
        made = cloze(passage.text, self.random) if self.random.random() < self.arguments.cloze else None
        text, answer = made or (question.text, passage.answer)
        return self.parts(text, passage.text, answer)[:3]

    def prompt(self, question, passage):
        """What the model sees: for ``mlm`` with places for the answer, for ``seq2seq`` without."""
        start, end = self.tokenizer.start_id, self.tokenizer.end_id
        if self.arguments.head == "seq2seq":
            return [start, *question, end, *passage, end]
        return [start, *[self.tokenizer.mask_id] * self.arguments.max_answer, end, *question, end, *passage, end]

    def inputs(self, rows):
        """Token ids, and segment ids: what is to be written is segment 1 for UniLM, the passage for the masked model."""
        token_ids, segment_ids = [], []
        for question, passage, answer in rows:
            ids = self.prompt(question, passage)
            written = [*answer, self.tokenizer.end_id] if self.arguments.head == "seq2seq" else []
            marked = len(written) or len(passage) + 1
            token_ids.append(ids + written)
            segment_ids.append([0] * (len(ids + written) - marked) + [1] * marked)
        return [padded(token_ids), padded(segment_ids)]

    def collate(self, questions):
        rows = [self.lesson(question) for question in questions]
        token_ids, segment_ids = inputs = self.inputs(rows)
        if self.arguments.head == "seq2seq":
            return inputs, token_ids, segment_ids  # the next token of what is in segment 1 is to be learned
        labels = np.full((len(rows), self.arguments.max_answer), NO_LABEL)
        for label, (_, _, answer) in zip(labels, rows):
            label[: len(answer) + 1] = [*answer, self.tokenizer.end_id]
        return inputs, labels


@dataclass(frozen=True, kw_only=True)
class AnswerHead(MaskedLM):
    """The head of the masked model at the masks of the answer only: over all tokens it would cost more than the model itself."""

    places: int = 1

    def apply(self, graph, hidden):
        return super().apply(graph, hidden[:, 1 : 1 + self.places])


def build(backbone, arguments):
    """The Keras model and its loss; the model returns logits, for ``mlm`` only those of the answer."""
    if arguments.head == "seq2seq":
        return backbone.build(application="unilm", with_mlm="linear").model, Seq2SeqCrossentropy(from_logits=True)

    def answer_only(spec):
        *others, head = spec.heads
        return replace(spec, heads=(*others, AnswerHead(**vars(head), places=arguments.max_answer)))

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=NO_LABEL)
    return backbone.build(with_mlm="linear", edit=answer_only).model, loss


def fill_masks(model, reading, jobs):
    """For each job the place of the answer in what was read of the passage, and its probability."""
    collate = lambda jobs: (reading.inputs([(question, passage, []) for question, passage in jobs]), None)  # noqa: E731
    scores = in_order(model, jobs, collate, length=lambda job: sum(map(len, job)), name="fill masks")
    for logits, (_, passage) in zip(scores, jobs):
        log_probabilities = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        span, score = best_piece(log_probabilities, passage, reading.tokenizer.end_id)
        yield span, np.exp(score)


def write(model, reading, jobs, batch_size=32):
    """The same, by beam search."""
    end = reading.tokenizer.end_id
    for start in tqdm(range(0, len(jobs), batch_size), desc="write", unit=" batches", disable=None):
        part = jobs[start : start + batch_size]
        found = generate(
            model,
            [reading.prompt(*job) for job in part],
            search=Beam(width=3),
            max_new_tokens=reading.arguments.max_answer,
            end_ids=end,
            processors=[PassageConstraint([[passage] for _, passage in part], end_id=end)],
            batch_size=3 * batch_size,
        )
        for best, (_, passage) in zip(found, part):
            tokens = [token for token in best.tokens.tolist() if token != end]
            yield place(passage, tokens), np.exp(best.score / len(best.tokens))


def answers(model, reading, questions):
    """The answer to each question, out of all of its passages."""
    jobs, texts = [], []
    for number, question in enumerate(questions):
        for passage in question.passages:
            asked, seen, _, offsets = reading.parts(question.text, passage.text)
            jobs.append((asked, seen))
            texts.append((number, passage.text, offsets))
    found = [[] for _ in questions]
    search = fill_masks if reading.arguments.head == "mlm" else write
    for ((start, stop), probability), (number, text, offsets) in zip(search(model, reading, jobs), texts):
        found[number].append((text[offsets[start][0] : offsets[stop - 1][1]], probability))
    return [vote(candidates) for candidates in found]


def main(argv=None):
    arguments = parse(argv)
    train, dev = read_reading(arguments.task, arguments.data_dir)
    name = f"reading {arguments.task}, {arguments.head}"
    report = Report(arguments, name, "f1", training_questions=len(train), questions=len(dev))
    report.add("most similar sentence", figures(dev, [best_sentence(question) for question in dev]), baseline=True)

    texts = {passage.text for question in train for passage in question.passages} | {question.text for question in train}
    backbone = Backbone.of(arguments, sorted(texts), layers=3, positions=arguments.max_length)
    reading = Reading(backbone.tokenizer, arguments, np.random.default_rng(arguments.seed))
    model, loss = build(backbone, arguments)
    learnable = [question for question in train if any(passage.answer for passage in question.passages)]
    length = lambda question: max(len(passage.text) for passage in question.passages)  # noqa: E731
    dataset = BucketedDataset(learnable, reading.collate, arguments.batch_size, length=length, seed=arguments.seed)
    model.compile(optimizer(arguments.learning_rate, arguments.epochs * len(dataset)), loss)
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)
    report.add(arguments.head, figures(dev, answers(model, reading, dev)))
    return report.finish()


if __name__ == "__main__":
    main()
