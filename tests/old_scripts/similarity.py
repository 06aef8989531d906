#! -*- coding: utf-8 -*-
# 句子相似度：同一批次里相邻两句是同义句，其余都是负样本（Loss 层），按行向量检索

import numpy as np
from keras_su.backend import keras, K, search_layer
from keras_su.layers import Loss
from keras_su.models import build_transformer_model
from keras_su.optimizers import Adam, extend_with_weight_decay, extend_with_gradient_accumulation
from keras_su.snippets import DataGenerator, open, sequence_padding
from keras_su.tokenizers import Tokenizer

maxlen = 16
batch_size = 4
config_path = 'bert/bert_config.json'
checkpoint_path = 'bert/bert_model.ckpt'
dict_path = 'bert/vocab.txt'

pairs = [l.strip().split('\t') for l in open('pairs.txt', encoding='utf-8')]
tokenizer = Tokenizer(dict_path, do_lower_case=True)


class data_generator(DataGenerator):
    def __iter__(self, random=False):
        batch_token_ids, batch_segment_ids = [], []
        for is_end, (first, second) in self.sample(random):
            for text in (first, second):
                token_ids, segment_ids = tokenizer.encode(first_text=text, maxlen=maxlen)
                batch_token_ids.append(token_ids)
                batch_segment_ids.append(segment_ids)
            if len(batch_token_ids) == self.batch_size * 2 or is_end:
                yield [sequence_padding(batch_token_ids), sequence_padding(batch_segment_ids)], None
                batch_token_ids, batch_segment_ids = [], []


class TotalLoss(Loss):
    def compute_loss(self, inputs, mask=None):
        loss = self.compute_loss_of_similarity(inputs, mask)
        self.add_metric(loss, name='similarity_loss')
        return loss

    def compute_loss_of_similarity(self, inputs, mask=None):
        y_pred = inputs
        y_true = self.get_labels_of_similarity(y_pred)
        y_pred = K.l2_normalize(y_pred, axis=1)
        similarities = K.dot(y_pred, K.transpose(y_pred))
        similarities = similarities - K.eye(K.shape(y_pred)[0]) * 1e12
        similarities = similarities * 20
        loss = K.categorical_crossentropy(y_true, similarities, from_logits=True)
        return K.mean(loss)

    def get_labels_of_similarity(self, y_pred):
        idxs = K.arange(0, K.shape(y_pred)[0])
        idxs_1 = idxs[None, :]
        idxs_2 = (idxs + 1 - idxs % 2 * 2)[:, None]
        return K.cast(K.equal(idxs_1, idxs_2), K.floatx())


bert = build_transformer_model(
    config_path,
    checkpoint_path,
    with_pool='linear',
    return_keras_model=False,
    dropout_rate=0.,
    attention_dropout_rate=0.,
)
encoder = keras.models.Model(bert.model.inputs, bert.model.outputs[0])
embeddings = search_layer(bert.model.output, 'Embedding-Token').embeddings
outputs = TotalLoss()(bert.model.output)
model = keras.models.Model(bert.model.inputs, outputs)

AdamW = extend_with_weight_decay(Adam, 'AdamW')
AdamWG = extend_with_gradient_accumulation(AdamW, 'AdamWG')
optimizer = AdamWG(learning_rate=2e-3, weight_decay_rate=0.01, exclude_from_weight_decay=['Norm', 'bias'], grad_accum_steps=2)
model.compile(optimizer=optimizer)


def similarity_of(first, second):
    X, S = [], []
    for t in (first, second):
        x, s = tokenizer.encode(t)
        X.append(x)
        S.append(s)
    Z = encoder.predict([sequence_padding(X), sequence_padding(S)])
    Z /= (Z**2).sum(axis=1, keepdims=True)**0.5
    return float(np.dot(Z[0], Z[1]))


before = np.mean([similarity_of(*pair) for pair in pairs]) - np.mean(
    [similarity_of(pairs[i][0], pairs[i - 1][1]) for i in range(len(pairs))]
)
train_generator = data_generator(pairs, batch_size)
history = model.fit(train_generator.forfit(), steps_per_epoch=len(train_generator), epochs=12, verbose=0)
after = np.mean([similarity_of(*pair) for pair in pairs]) - np.mean(
    [similarity_of(pairs[i][0], pairs[i - 1][1]) for i in range(len(pairs))]
)
model.save_weights('similarity.weights', save_format='h5')
