"""RoFormer-Sim, the second SimBERT: rotary positions, noise on what is read, and a teacher for the vectors.

Stage 1 is SimBERT's training, except that half of the source questions lose whole words (15 % of them), while the target stays
clean: the model learns to repair and to rephrase. Stage 2 drops the contrastive loss: the cosines between all questions of a
batch have to be those of a teacher, a SimBERT, and the generation loss goes on.

    python simbert_train.py --data-dir simbert --pooling first-last-avg --save runs/simbert
    python roformer_sim_train.py --stage 1 --data-dir simbert --pooling first-last-avg --save runs/roformer_sim_1
    python roformer_sim_train.py --stage 2 --data-dir simbert --pooling first-last-avg --pretrained runs/roformer_sim_1 \\
        --teacher runs/simbert --save runs/roformer_sim_2
    python roformer_sim_train.py --stage 1 --data-dir simbert --config chinese_roformer-v1-char/bert_config.json \\
        --checkpoint chinese_roformer-v1-char/bert_model.ckpt --vocab chinese_roformer-v1-char/vocab.txt --save runs/sim_1

The article: https://kexue.fm/archives/8454. The weights: https://github.com/ZhuiyiTechnology/roformer-sim. The data folder has
``data_similarity.json``, as for ``simbert_train.py``, from which this example takes what the two have in common.
"""

from dataclasses import replace

from keras_su.data import whole_word_mask
from keras_su.decoding import Sample
from keras_su.losses import InBatchPairContrastive, SimilarityDistillation
from keras_su.tokenizers import segmenter
from readers.similarity import hold_out, read_groups, write_synthetic
from simbert_train import Batches, add_options, baselines, build, describe_generation, evaluate, train
from toolbox import Backbone, Options, Report
from toolbox.sentences import vectors_of

SCALE = 20  # of the cosines in the contrastive loss of stage 1
WEIGHT = 100  # of the distillation beside the generation loss, in stage 2


def parse(argv):
    scratch = {"epochs": 6, "batch_size": 64, "learning_rate": 1e-3, "max_length": 32}
    pretrained = {"epochs": 3, "batch_size": 48, "learning_rate": 1e-5, "max_length": 64}
    options = Options(__doc__, synthetic=write_synthetic, scratch=scratch, pretrained=pretrained, smoke={"max_length": 16})
    add_options(options)
    options.add_argument("--stage", type=int, choices=[1, 2], default=1, help="1: noise and contrast; 2: a teacher; default: 1")
    options.add_argument("--teacher", metavar="DIR", help="folder of the SimBERT that stage 2 learns from")
    options.add_argument("--teacher-pooling", help="where its vectors come from; default: as --pooling")
    arguments = options.read(argv)
    arguments.family = arguments.family or "roformer"
    if arguments.stage == 2 and not (arguments.teacher or arguments.smoke):
        options.error("--stage 2 needs --teacher: a folder that simbert_train.py --save wrote.")
    return arguments


class NoisyBatches(Batches):
    """Rows as for SimBERT, of which half have a source with whole words hidden. The target stays clean."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.cut = segmenter()

    def encode(self, text):
        return self.cut(text), super().encode(text)

    def source(self, encoded):
        words, clean = encoded
        if self.dice.random() < 0.5:
            return clean
        noisy, _ = whole_word_mask(words, self.tokenizer, dice=self.dice)
        return [clean[0], *noisy[: len(clean) - 2], clean[-1]]

    def target(self, encoded):
        return encoded[1]


class TaughtBatches(Batches):
    """Rows as for SimBERT; the label of a row is the teacher's vector of its source."""

    def __init__(self, tokenizer, max_length, seed, vectors):
        super().__init__(tokenizer, max_length, seed)
        self.vectors = vectors

    def encode(self, text):
        return super().encode(text), self.vectors[text]

    def source(self, encoded):
        return encoded[0]

    target = source

    def label(self, encoded):
        return encoded[1]


def teacher_of(arguments, backbone):
    """Tokenizer and vectors of the teacher; for the smoke run, a small BERT that knows nothing."""
    if arguments.teacher:
        taught = Backbone.load(arguments.teacher)
    else:
        taught = replace(backbone, family="bert")
    return taught.tokenizer, build(taught, arguments.teacher_pooling or arguments.pooling)[2]


def main(argv=None):
    arguments = parse(argv)
    groups, held_out = hold_out(read_groups(arguments.data_dir / "data_similarity.json"))
    texts = [text for group in groups for text in group]
    backbone = Backbone.of(arguments, texts, layers=arguments.layers, width=arguments.width)
    handle, model, encoder = build(backbone, arguments.pooling)
    report = Report(arguments, f"RoFormer-Sim, stage {arguments.stage}", "MRR", training_groups=len(groups))
    baselines(report, held_out)
    settings = backbone.tokenizer, arguments.max_length, arguments.seed
    if arguments.stage == 1:
        batches, loss = NoisyBatches(*settings), InBatchPairContrastive(SCALE)
    else:
        tokenizer, teacher = teacher_of(arguments, backbone)
        evaluate(report, "the teacher", teacher, tokenizer, held_out, arguments)
        vectors = vectors_of(teacher, tokenizer, texts, arguments.max_length, name="teacher")
        batches, loss = TaughtBatches(*settings, dict(zip(texts, vectors))), SimilarityDistillation(WEIGHT)
        evaluate(report, "before stage 2", encoder, backbone.tokenizer, held_out, arguments)
    train(model, groups, batches, loss, arguments)
    if arguments.save:
        backbone.save(arguments.save, handle)
    evaluate(report, f"RoFormer-Sim, {arguments.pooling}", encoder, backbone.tokenizer, held_out, arguments)
    search = Sample(top_p=0.95, n=2 if arguments.smoke else 10)
    describe_generation(report, "written questions", handle, encoder, backbone.tokenizer, held_out, search, arguments)
    return report.finish()


if __name__ == "__main__":
    main()
