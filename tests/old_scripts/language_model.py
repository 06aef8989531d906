#! -*- coding: utf-8 -*-
# 语言模型：RoFormer 加下三角 mask，随机采样续写

import numpy as np
from keras_su.backend import keras, K
from keras_su.layers import Loss
from keras_su.models import build_transformer_model
from keras_su.optimizers import AdaFactor, extend_with_exponential_moving_average, Adam
from keras_su.snippets import AutoRegressiveDecoder, DataGenerator, open, sequence_padding, text_segmentate
from keras_su.tokenizers import Tokenizer

maxlen = 10
batch_size = 4
epochs = 12
config_path = 'roformer/bert_config.json'
checkpoint_path = 'roformer/bert_model.ckpt'
dict_path = 'roformer/vocab.txt'

text = open('novel.txt', encoding='utf-8').read()
data = [s for s in text_segmentate(text, maxlen - 2, seps=u'\n。', strips=u'\n') if s]
tokenizer = Tokenizer(dict_path, do_lower_case=True)


class data_generator(DataGenerator):
    def __iter__(self, random=False):
        batch_token_ids = []
        for is_end, sentence in self.sample(random):
            token_ids, _ = tokenizer.encode(sentence, maxlen=maxlen)
            batch_token_ids.append(token_ids)
            if len(batch_token_ids) == self.batch_size or is_end:
                batch_token_ids = sequence_padding(batch_token_ids)
                batch_segment_ids = np.zeros_like(batch_token_ids)
                yield [batch_token_ids, batch_segment_ids], None
                batch_token_ids = []


class CrossEntropy(Loss):
    """交叉熵作为 loss，并 mask 掉 padding 部分"""

    def compute_loss(self, inputs, mask=None):
        y_true, y_pred = inputs
        if mask[1] is None:
            y_mask = 1.0
        else:
            y_mask = K.cast(mask[1], K.floatx())[:, 1:]
        y_true = y_true[:, 1:]
        y_pred = y_pred[:, :-1]
        loss = K.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        self.padded = mask[1] is not None
        return K.sum(loss * y_mask) / K.sum(y_mask)


model = build_transformer_model(config_path, checkpoint_path, model='roformer', application='lm', with_mlm='linear')
cross_entropy = CrossEntropy(1)
output = cross_entropy([model.inputs[0], model.outputs[0]])
model = keras.models.Model(model.inputs, output)

AdamEMA = extend_with_exponential_moving_average(Adam, name='AdamEMA')
optimizer = AdamEMA(learning_rate=1e-2, ema_momentum=0.5)
model.compile(optimizer=optimizer)


class StoryCompletion(AutoRegressiveDecoder):
    @AutoRegressiveDecoder.wraps(default_rtype='logits')
    def predict(self, inputs, output_ids, states):
        token_ids = np.concatenate([inputs[0], output_ids], 1)
        segment_ids = np.zeros_like(token_ids)
        return self.last_token(model).predict([token_ids, segment_ids])

    def generate(self, text, n=1, topp=0.95):
        token_ids, _ = tokenizer.encode(text)
        results = self.random_sample([token_ids[:-1]], n, topp=topp)
        return [text + tokenizer.decode(ids) for ids in results]


story_completion = StoryCompletion(start_id=None, end_id=tokenizer._token_end_id, maxlen=maxlen)


class Evaluator(keras.callbacks.Callback):
    def __init__(self):
        self.lowest = 1e10
        self.stories = []

    def on_epoch_end(self, epoch, logs=None):
        if logs['loss'] <= self.lowest:
            self.lowest = logs['loss']
            model.save_weights('./best_model.weights')
        if epoch == epochs - 1:
            optimizer.apply_ema_weights()
            self.stories.extend(story_completion.generate(data[0][:2], n=2))
            optimizer.reset_old_weights()


evaluator = Evaluator()
train_generator = data_generator(data, batch_size)
history = model.fit_generator(
    train_generator.forfit(), steps_per_epoch=len(train_generator), epochs=epochs, callbacks=[evaluator], verbose=0
)
optimizer = AdaFactor(learning_rate=None)
model.compile(optimizer=optimizer)
continued = model.fit(train_generator.forfit(), steps_per_epoch=len(train_generator), epochs=1, verbose=0)
