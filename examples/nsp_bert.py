"""Zero-shot and few-shot classification with the next-sentence head of BERT (NSP-BERT), on the nine tasks of FewCLUE.

BERT has learned whether two segments follow each other. So ask it: does "这是一则体育新闻" belong to this text? The prompt with
the highest score is the class (candidate contrast). Where there are no prompts to compare, such as for pairs of sentences, the
samples are: those with the lowest scores are the lowest class (sample contrast). With a few labels the question can be trained.

    python nsp_bert.py --data-dir FewCLUE/datasets --pretrained bert_chinese                  # all nine tasks
    python nsp_bert.py --data-dir FewCLUE/datasets --task tnews --template "{label}" --order suffix --zero-shot-only ...
    python nsp_bert.py --data-dir FewCLUE/datasets --task bustm --evaluate test_public --rank-on dev_0 ...
    python nsp_bert.py --smoke

The model must have been trained with next-sentence prediction and still have that head: Google's BERT and UER's do, the RoBERTas
do not. ``--data-dir`` has a folder for each task, with ``train_0.json`` and ``dev_0.json``.

The article: https://kexue.fm/archives/8671; the paper: https://arxiv.org/abs/2109.03564. The data: https://github.com/CLUEbenchmark/FewCLUE.
"""

import keras
import numpy as np

from keras_su.data import BucketedDataset
from keras_su.errors import CheckpointError
from keras_su.zero_shot import (
    candidate_contrast,
    classes_by_thresholds,
    encode_blank,
    encode_pair,
    midpoint_thresholds,
    next_sentence_scores,
    sample_contrast,
)
from readers.fewclue import TASKS, read_samples, write_synthetic
from toolbox import VERBOSE, Backbone, Options, Report, in_order, optimizer, padded
from toolbox.baselines import majority, tfidf_classifier, tfidf_cosine


def parse(argv):
    settings = {"epochs": 10, "batch_size": 8}
    options = Options(__doc__, synthetic=write_synthetic, scratch=settings, pretrained=settings, smoke={"max_length": 32})
    options.add_argument("--task", default="all", choices=["all", *TASKS], help="default: all")
    options.add_argument("--order", choices=["prefix", "suffix"], help="where prompts stand; default: as in the paper")
    options.add_argument(
        "--template", help="prompt with {label}, for eprstmt, csldcp, tnews and iflytek; default: as in the paper"
    )
    options.add_argument("--evaluate", default="dev_0", metavar="SPLIT", help="what to evaluate on; default: dev_0")
    options.add_argument("--rows", type=int, help="evaluate on so many rows of each task, drawn by --seed; default: all")
    options.add_argument(
        "--rank-on", metavar="SPLIT", help="take thresholds of ranked tasks from here; default: --evaluate itself"
    )
    options.add_argument("--zero-shot-only", action="store_true", help="do not train on train_0")
    arguments = options.read(argv)
    arguments.tasks = list(TASKS) if arguments.task == "all" else [arguments.task]
    if arguments.smoke and arguments.task == "all":
        arguments.tasks = ["bustm", "chid"]  # samples that are ranked, prompts that compete
    elif arguments.from_scratch and not arguments.smoke:
        options.error("there is nothing to ask a model from scratch: --pretrained, or --config, --checkpoint and --vocab.")
    return arguments


class Asked:
    """A task with a tokenizer: from samples and prompts to batches."""

    def __init__(self, name, tokenizer, arguments):
        self.name, self.task, self.tokenizer, self.arguments = name, TASKS[name], tokenizer, arguments
        self.order = arguments.order or self.task.order
        self.dice = np.random.default_rng(arguments.seed)

    def read(self, split):
        return read_samples(self.arguments.data_dir, self.name, split, self.arguments.template)

    def pair(self, sample, prompt):
        limit = self.arguments.max_length
        if isinstance(sample.text, tuple):
            before, after = sample.text
            return encode_blank(self.tokenizer, before, prompt, after, self.order, limit)
        return encode_pair(self.tokenizer, prompt, sample.text, self.order, limit, self.task.truncate_from)

    def length(self, sample):
        return min(len("".join(sample.text)) + len(sample.prompts[0]), self.arguments.max_length)

    def length_of_pair(self, asked):
        return self.length(asked[0])

    def question(self, asked):
        """A batch of samples, each with one prompt, and no labels."""
        return [padded(ids) for ids in zip(*(self.pair(sample, prompt) for sample, prompt in asked))], None

    def lesson(self, samples):
        """A training batch. The model shall say "is next" of the right prompt and "is not" of a wrong one, another each time; of
        a ranked class that lies between, as for "neutral", with probability 1/2."""
        asked, belongs = [], []
        for sample in samples:
            if self.task.ranked:
                asked.append((sample, sample.prompts[0]))
                belongs.append(sample.answer / (self.task.classes - 1))
            else:
                wrong = (sample.answer + self.dice.integers(1, len(sample.prompts))) % len(sample.prompts)
                asked += [(sample, sample.prompts[sample.answer]), (sample, sample.prompts[wrong])]
                belongs += [1.0, 0.0]
        return self.question(asked)[0], np.stack([belongs, 1 - np.array(belongs)], axis=1)

    def scores(self, model, samples):
        """For each sample the scores of its prompts."""
        asked = [(sample, prompt) for sample in samples for prompt in sample.prompts]
        batch_size = 8 * self.arguments.batch_size
        probabilities = in_order(model, asked, self.question, batch_size, length=self.length_of_pair, name=self.name)
        scores = next_sentence_scores(np.stack(probabilities))
        return np.split(scores, np.cumsum([len(sample.prompts) for sample in samples])[:-1])

    def ranks(self, model, samples):
        return np.concatenate(self.scores(model, samples))


def accuracy(predicted, samples):
    return 100 * np.mean(np.asarray(predicted) == [sample.answer for sample in samples])


def baselines(asked, train, samples):
    """The most frequent class; and TF-IDF with logistic regression on the same few labels, or for idioms the nearest one."""
    answers = [sample.answer for sample in train]
    most = majority(answers, len(samples))
    if asked.name == "chid":  # the number of an idiom among its rivals means nothing
        pairs = [[("".join(sample.text), prompt) for prompt in sample.prompts] for sample in samples]
        return most, candidate_contrast([tfidf_cosine(each) for each in pairs])
    if asked.task.ranked:
        train, samples = (
            [sample._replace(text=f"{sample.text} {sample.prompts[0]}") for sample in part] for part in (train, samples)
        )
    return most, tfidf_classifier([sample.text for sample in train], answers, [sample.text for sample in samples])


def zero_shot(asked, model, samples):
    if not asked.task.ranked:
        return candidate_contrast(asked.scores(model, samples))
    scores, classes = asked.ranks(model, samples), asked.task.classes
    if asked.arguments.rank_on is None:
        return sample_contrast(scores, classes)
    return classes_by_thresholds(scores, midpoint_thresholds(asked.ranks(model, asked.read(asked.arguments.rank_on)), classes))


def few_shot(asked, model, train, samples):
    arguments = asked.arguments
    dataset = BucketedDataset(train, asked.lesson, arguments.batch_size, length=asked.length, seed=arguments.seed)
    adamw = optimizer(arguments.learning_rate, len(dataset) * arguments.epochs)
    model.compile(adamw, keras.losses.CategoricalCrossentropy())
    model.fit(dataset, epochs=arguments.epochs, shuffle=False, verbose=VERBOSE)
    if not asked.task.ranked:
        return candidate_contrast(asked.scores(model, samples))
    sizes = np.bincount([sample.answer for sample in train], minlength=asked.task.classes)  # now there are labels
    return classes_by_thresholds(asked.ranks(model, samples), midpoint_thresholds(asked.ranks(model, train), sizes))


def build(backbone):
    try:
        return backbone.build(with_nsp=True, custom_position_ids=True).model
    except CheckpointError as error:
        if "NSP-Proba" not in str(error):
            raise
        message = "This checkpoint has no next-sentence head, so there is nothing to ask it; Google's BERT has one, and UER's."
        raise CheckpointError(f"{message}\n{error}") from error


def main(argv=None):
    arguments = parse(argv)
    texts = [
        "".join((*sample.text, *sample.prompts))
        for name in arguments.tasks
        for sample in Asked(name, None, arguments).read("train_0")
    ]
    backbone = Backbone.of(arguments, texts)
    model = build(backbone)
    weights = model.get_weights()
    rows = {"majority class": {}, "no labels": {}, "TF-IDF, few labels": {}, "few labels": {}}
    for name in arguments.tasks:
        asked = Asked(name, backbone.tokenizer, arguments)
        train, samples = asked.read("train_0"), asked.read(arguments.evaluate)
        if arguments.rows and arguments.rows < len(samples):
            chosen = np.random.default_rng(arguments.seed).permutation(len(samples))[: arguments.rows]
            samples = [samples[i] for i in chosen]
        predicted = [*baselines(asked, train, samples), zero_shot(asked, model, samples)]
        if not arguments.zero_shot_only:
            predicted.append(few_shot(asked, model, train, samples))
            model.set_weights(weights)
        for row, classes in zip(("majority class", "TF-IDF, few labels", "no labels", "few labels"), predicted):
            rows[row][name] = accuracy(classes, samples)
    metric = "mean" if len(arguments.tasks) > 1 else arguments.task
    report = Report(arguments, "FewCLUE accuracy", metric, evaluated=arguments.evaluate)
    for row, figures in rows.items():
        if figures:
            mean = {"mean": np.mean(list(figures.values()))} if len(figures) > 1 else {}
            report.add(row, {**figures, **mean}, baseline=row in ("majority class", "TF-IDF, few labels"))
    return report.finish()


if __name__ == "__main__":
    main()
