"""Questions to a knowledge graph with one sequence-to-sequence model and a prefix tree (KgCLUE).

A UniLM reads ``[CLS] question [SEP]`` and writes ``subject [SEP] predicate [SEP] meaning [SEP]``. A beam search may only
follow the branches of a prefix tree that holds the whole knowledge graph, so every answer is an entry of the graph; its
object is then looked up. Where the tree branches, the search also looks ahead: branches that lead to entries with more of
the question's characters are raised.

    python task_kgclue_seq2seq.py                                # train on the small graph beside this file, about 1 minute
    python task_kgclue_seq2seq.py --save runs/kg                 # the same, and keep the result
    python task_kgclue_seq2seq.py --load runs/kg --question "牛顿是哪国人？"
    python task_kgclue_seq2seq.py --data-dir kgclue --knowledge Knowledge.txt --epochs 10 --beam 1 3 5 --answers answers.jsonl

Without ``--config`` a small model is trained from scratch. With a pre-trained one, as in the article:

    python task_kgclue_seq2seq.py --data-dir kgclue --config chinese_roberta/bert_config.json \
        --checkpoint chinese_roberta/bert_model.ckpt --vocab chinese_roberta/vocab.txt --learning-rate 1e-5 --epochs 3

The article: https://kexue.fm/archives/8802. The data: https://github.com/CLUEbenchmark/KgCLUE.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from keras_su.decoding import Beam, LiteralStart, LookAhead, PrefixConstraint, PrefixTree, generate
from keras_su.metrics import CommonSubsequence, exact_match, lcs_f1
from keras_su.models import build_transformer_model
from keras_su.tokenizers import Tokenizer, save_vocab
from readers.kgclue import MAX_LENGTH, MAX_QUESTION, Lessons, read_knowledge, read_questions, triple
from toolbox import AtPositions, Report, character_vocabulary

# Chosen on training questions whose predicates were held out. A small model is surer of unseen predicates than it is right, so
# beside the look-ahead it is softened until it mostly decides between branches that cover the question equally well.
TEMPERATURE, COST = 16.0, 0.05
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SMALL_GRAPH = Path(__file__).parent / "data" / "kg_mini"


class Knowledge:
    """The graph as a prefix tree over ``subject [SEP] predicate [SEP] meaning``; the values are the lines of the files."""

    def __init__(self, tokenizer, tree=None):
        self.tokenizer, self.tree, self.end = tokenizer, tree, tokenizer.end_id
        self.ids = lru_cache(100_000)(lambda text: tokenizer.encode(text)[0][1:-1])

    def key(self, entry):
        ids = [*self.ids(entry.subject), self.end, *self.ids(entry.predicate), self.end, *self.ids(entry.meaning)]
        return ids[: MAX_LENGTH - MAX_QUESTION - 3]

    def build(self, paths):
        self.tree = PrefixTree.build((self.key(entry), line) for entry, line in read_knowledge(paths))
        return self

    def entry(self, ids, question):
        """The triple behind generated ids. Subjects that differ only in unknown characters share a key: the question decides."""
        while not self.tree.is_key(self.tree.find(ids)):
            ids = ids[:-1]  # the end ids that close the key
        entries = [triple(*line.split("\t")) for line in self.tree.values(self.tree.find(ids))]
        return next((entry for entry in entries if entry.subject in question), entries[0])

    def quoted_subjects(self, question):
        """Subjects that stand in a question, as ids, with the state of the tree behind their end id: ``[(ids, state), ...]``."""
        ids, found = self.ids(question), []
        for first in range(len(ids)):
            state = self.tree.root
            for last in range(first, len(ids)):
                state = self.tree.advance(state, ids[last])
                closed = self.tree.advance(state, self.end)
                if closed != self.tree.dead:
                    found.append((ids[first : last + 1], closed))
        return found

    def lexical_answer(self, question):
        """Without any model: the longest subject in the question; of its entries, the predicate with most characters in order."""
        ids, subjects = self.ids(question), self.quoted_subjects(question)
        if not subjects:
            return None
        _, state = max(subjects, key=lambda subject: len(subject[0]))
        common = CommonSubsequence(ids)
        overlap = lambda part: common.length(common.advance_all(common.start, part))  # noqa: E731
        best = None
        for suffix, lines in self.tree.completions(state):
            predicate, meaning = _split_at(suffix.tolist(), self.end)
            rank = (overlap(predicate), -len(predicate), overlap(meaning))
            if best is None or rank > best[0]:
                best = rank, triple(*lines[0].split("\t"))
        return best[1]


def _split_at(ids, separator):
    where = ids.index(separator)
    return ids[:where], ids[where + 1 :]


class ReadingLoss(keras.losses.Loss):
    """Cross-entropy of the next token over the vocabulary, plus that over its rivals alone: the search normalises like that."""

    def __init__(self):
        super().__init__(reduction="mean_with_sample_weight")

    def call(self, targets, logits):
        scores = ops.take_along_axis(logits, ops.cast(targets, "int32"), axis=-1)
        own = scores[..., 0]
        among_rivals = ops.logsumexp(ops.where(targets > 0, scores, -1e9), axis=-1)
        return ops.logsumexp(logits, axis=-1) - own + 2 * (among_rivals - own)


def build_model(config, checkpoint, family):
    """Two models over the same layers.

    Returns:
        ``learner``: token ids, segment ids ``(batch, length)``, positions ``(batch, places)`` -> logits ``(batch, places,
        vocab_size)``; ``writer``: token ids, segment ids -> logits of all positions, which ``generate`` runs token by token.
    """
    positions = keras.Input((None,), dtype="int32", name="Positions")
    unilm = {"model": family, "application": "unilm", "with_mlm": "linear"}
    learner = build_transformer_model(
        config,
        checkpoint,
        additional_input_layers=positions,
        edit=lambda spec: replace(spec, heads=(AtPositions(spec.heads[-1], positions),)),
        return_keras_model=False,
        **unilm,
    )
    return learner.model, build_transformer_model(config, layers=learner.layers, **unilm)


def small_config(vocab_size, layers=4):
    """A model that learns from scratch in minutes."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 2 * MAX_LENGTH,
        "initializer_range": 0.05,  # BERT's 0.02 is for a width of 768; narrower layers need more to start with
    }


def train(model, lessons, epochs, learning_rate):
    steps = epochs * len(lessons)
    schedule = keras.optimizers.schedules.CosineDecay(
        learning_rate / 100, steps, warmup_target=learning_rate, warmup_steps=max(steps // 16, 1)
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01, beta_2=0.98, global_clipnorm=1.0)
    model.compile(optimizer, loss=ReadingLoss())
    # Not model.fit: on TensorFlow it takes the shape of the first batches for that of all, and ours differ in length.
    for epoch in range(epochs):
        model.reset_metrics()
        for index in tqdm(range(len(lessons)), desc=f"epoch {epoch + 1}", unit=" batches", disable=None):
            loss = model.train_on_batch(*lessons[index])
        print(f"epoch {epoch + 1} of {epochs}: loss {float(loss):.4f}", flush=True)
        lessons.on_epoch_end()


def candidates(writer, knowledge, questions, beam, look_ahead, bonus=2.0, batch_size=32):
    """For every question the beam, best first: ``[(triple, probability), ...]``; ``bonus`` 0 is the look-ahead of the article."""
    constraint, beams = PrefixConstraint(knowledge.tree, knowledge.end), []
    name = f"beam {beam}{' + look-ahead' if look_ahead else ''}"
    for first in tqdm(range(0, len(questions), batch_size), desc=name, unit=" batches", disable=None):
        batch = questions[first : first + batch_size]
        ids = [knowledge.ids(question)[:MAX_QUESTION] for question in batch]
        prompts = [[knowledge.tokenizer.start_id, *question, knowledge.end] for question in ids]
        # Subjects are quoted in nearly every question, and a model from scratch cannot spell characters it has never seen.
        quoted = LiteralStart([[subject for subject, _ in knowledge.quoted_subjects(text)] for text in batch], knowledge.end)
        weight = {"bonus": bonus, "temperature": TEMPERATURE, "cost": COST} if bonus else {}
        ahead = [LookAhead(knowledge.tree, ids, end_id=knowledge.end, until_ends=2, **weight)] if look_ahead else []
        found = generate(
            writer,
            prompts,
            search=Beam(width=beam, n_best=beam),
            max_new_tokens=MAX_LENGTH - MAX_QUESTION,
            end_ids=knowledge.end,
            min_ends=3,
            processors=[quoted, *ahead, constraint],
            batch_size=batch_size * beam,
        )
        for question, best in zip(batch, found):
            beams.append(
                [
                    (knowledge.entry(each.tokens.tolist(), question), float(np.exp(each.score)))
                    for each in (best, *best.alternatives)
                    if each.finished
                ]
            )
    return beams


def answer(*arguments, **options):
    """The best of `candidates` for every question."""
    return [best for best, *_ in candidates(*arguments, **options)]


def plain(text):
    """As the official evaluation compares: without case, and with single spaces."""
    return " ".join(text.lower().split())


def measure(make_answers, questions):
    """Answers, and their figures: exact match and F1 of the objects in percent, the mean of both, and questions a second."""
    started = time.perf_counter()
    answers = make_answers([question for question, _ in questions])
    pace = len(questions) / (time.perf_counter() - started)
    pairs = [(plain(entry.object if entry else ""), plain(gold.object)) for (entry, _), (_, gold) in zip(answers, questions)]
    em, f1 = (100 * float(np.mean([metric(*pair) for pair in pairs])) for metric in (exact_match, lcs_f1))
    return answers, {"EM": em, "F1": f1, "score": (em + f1) / 2, "questions/s": pace}


def describe(question, entry, probability):
    meaning = f"（{entry.meaning}）" if entry.meaning else ""
    return f"{question}\n    {entry.subject}{meaning} | {entry.predicate} | {entry.object}    ({probability:.3f})"


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--data-dir", type=Path, default=SMALL_GRAPH, help="folder of train.json, dev.json and the knowledge files"
    )
    parser.add_argument(
        "--knowledge", nargs="+", default=["Knowledge.txt"], metavar="FILE", help="files of triples, in the data folder"
    )
    parser.add_argument("--model", default="bert", help="family of the model")
    parser.add_argument("--config", help="configuration of a model; default: a small one, trained from scratch")
    parser.add_argument("--checkpoint", help="its weights")
    parser.add_argument("--vocab", help="its vocabulary; default: the characters of the data")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="1e-5 suits a pre-trained model of the usual size")
    parser.add_argument("--beam", type=int, nargs="+", default=[3], help="one or several widths")
    parser.add_argument(
        "--bonus", type=float, default=2.0, help="weight of the look-ahead; 0: the article's, for pre-trained models"
    )
    parser.add_argument("--no-look-ahead", action="store_true", help="answer without looking ahead in the tree")
    parser.add_argument("--question", help="answer this question instead of those of dev.json")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the results as JSON")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="where to write all answers, one JSON object a line")
    parser.add_argument("--save", type=Path, help="folder to keep model, vocabulary and tree in")
    parser.add_argument("--load", type=Path, help="folder that --save wrote: no training")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--smoke", action="store_true", help="one step and a few questions only, to see that all parts work")
    arguments = parser.parse_args(arguments)
    arguments.from_scratch = arguments.config is None
    return arguments


def prepare(arguments):
    """Trained model that writes, and knowledge: loaded, or made."""
    if arguments.load:
        knowledge = Knowledge(
            Tokenizer(arguments.load / "vocab.txt", do_lower_case=True), PrefixTree.load(arguments.load / "tree")
        )
        _, writer = build_model(arguments.load / "config.json", arguments.load / "model.weights.h5", arguments.model)
        return writer, knowledge
    files = [arguments.data_dir / name for name in arguments.knowledge]
    questions = read_questions(arguments.data_dir / "train.json")
    if arguments.vocab:
        vocabulary = arguments.vocab
    else:
        names = {text for entry, _ in read_knowledge(files) for text in entry[:3]}
        vocabulary = character_vocabulary([*sorted(names), *(question for question, _ in questions)], special=SPECIAL)
    knowledge = Knowledge(Tokenizer(vocabulary, do_lower_case=True)).build(files)
    print(f"{len(knowledge.tree)} entries, {knowledge.tree.nbytes / max(len(knowledge.tree), 1):.0f} bytes each")
    config = small_config(knowledge.tokenizer.vocab_size, 1 if arguments.smoke else 4)
    if arguments.config:
        config = json.loads(Path(arguments.config).read_text())
    learner, writer = build_model(config, arguments.checkpoint, arguments.model)
    steps = 1 if arguments.smoke else len(questions) // arguments.batch_size
    lessons = Lessons(questions, knowledge, arguments.batch_size, steps, arguments.seed)
    train(learner, lessons, 1 if arguments.smoke else arguments.epochs, arguments.learning_rate)
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        knowledge.tree.save(arguments.save / "tree")
        save_vocab(arguments.save / "vocab.txt", knowledge.tokenizer._token_dict)
        (arguments.save / "config.json").write_text(json.dumps(config, indent=2))
        learner.save_weights(arguments.save / "model.weights.h5")
    return writer, knowledge


def main(arguments=None):
    arguments = parse(arguments)
    keras.utils.set_random_seed(arguments.seed)
    writer, knowledge = prepare(arguments)
    if arguments.question:
        [(entry, probability)] = answer(
            writer, knowledge, [arguments.question], max(arguments.beam), not arguments.no_look_ahead, arguments.bonus
        )
        print(describe(arguments.question, entry, probability))
        return None
    questions = read_questions(arguments.data_dir / "dev.json")[: 8 if arguments.smoke else None]
    report = Report(arguments, f"{len(questions)} questions, objects", "score", questions=len(questions))
    _, figures = measure(lambda texts: [(knowledge.lexical_answer(text), 0.0) for text in texts], questions)
    report.add("no model (LCS)", figures, baseline=True)
    for beam in arguments.beam:
        for look_ahead in [False] if arguments.no_look_ahead else [False, True]:
            search = partial(answer, writer, knowledge, beam=beam, look_ahead=look_ahead, bonus=arguments.bonus)
            search([questions[0][0]] * 32)  # compiles, before the clock runs
            answers, figures = measure(search, questions)
            report.add(f"beam {beam}{', look-ahead' if look_ahead else ''}", figures)
    if arguments.answers:
        with open(arguments.answers, "w", encoding="utf-8") as file:
            for (question, gold), (entry, probability) in zip(questions, answers):
                row = {"question": question, **entry._asdict(), "score": round(probability, 6), "gold": gold._asdict()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print()
    for (question, _), found in list(zip(questions, answers))[:5]:
        print(describe(question, *found))
    return report.finish()


if __name__ == "__main__":
    main()
