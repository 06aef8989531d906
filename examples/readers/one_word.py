"""Questions with answers of one word: how a decoder and BERT are asked, and how small ones learn their language."""

from dataclasses import dataclass

import numpy as np

from toolbox import padded, small_config


@dataclass(frozen=True)
class Decoder:
    """Answers with the token behind the prompt, and learns its language by predicting every next token."""

    tokenizer: object
    options = {"final_activation": "linear"}
    segments = False

    def ids(self, text):
        marks = (self.tokenizer.start_id, self.tokenizer.end_id)
        return [token for token in self.tokenizer.encode(text)[0] if token not in marks]

    def prompt(self, text, room):
        """Ids, and where the answer is read off."""
        before, after = self.ids("评论："), self.ids("情感：")
        ids = [*before, *self.ids(text)[: room - len(before) - len(after)], *after]
        return ids, len(ids) - 1

    def lesson(self, rows):
        """A batch of the language task: ids, positions to read, what should be read there, weights."""
        ids = padded(rows)
        positions = np.broadcast_to(np.arange(ids.shape[1] - 1), (len(ids), ids.shape[1] - 1))
        lengths = np.array([[len(row)] for row in rows])
        return ids, positions, ids[:, 1:], positions + 1 < lengths

    @staticmethod
    def small(vocab_size, positions, layers=4, width=128):
        """The configuration of a model that learns from scratch in minutes."""
        return {
            "model_type": "qwen3",
            "vocab_size": vocab_size,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(width // 32, 2),
            "num_key_value_heads": max(width // 64, 1),  # two query heads share a key head
            "head_dim": 32,
            "intermediate_size": 3 * width,
            "max_position_embeddings": positions,
            "tie_word_embeddings": True,
            "initializer_range": 0.05,
        }


class Encoder(Decoder):
    """Answers at a mask, and learns its language by filling in masks."""

    options = {"with_mlm": "linear"}
    segments = True

    def prompt(self, text, room):
        start, mask, end = self.tokenizer.start_id, self.tokenizer.mask_id, self.tokenizer.end_id
        before = [start, *self.ids("情感："), mask]
        ids = [*before, *self.ids("。评论："), *self.ids(text)]
        return [*ids[: room - 1], end], len(before) - 1

    def lesson(self, rows):
        ids, mask = padded(rows), self.tokenizer.mask_id
        order = np.random.random(ids.shape) + (ids <= mask)  # special tokens have the lowest ids; they come last
        positions = np.argsort(order, axis=1)[:, : max(int(0.15 * ids.shape[1]), 1)]
        targets = np.take_along_axis(ids, positions, axis=1)
        np.put_along_axis(ids, positions, np.where(targets > mask, mask, targets), axis=1)
        return ids, positions, targets, targets > mask

    @staticmethod
    def small(vocab_size, positions, layers=4, width=128):
        return small_config(vocab_size, layers, width, positions)


KINDS = {"qwen3": Decoder, "bert": Encoder}
