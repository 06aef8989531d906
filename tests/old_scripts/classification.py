#! -*- coding:utf-8 -*-
# 情感分类：BERT + CLS 向量 + 全连接，分段线性学习率，按验证集保存最优权重

import numpy as np
from keras_su.backend import keras, set_gelu
from keras_su.models import build_transformer_model
from keras_su.optimizers import Adam, extend_with_piecewise_linear_lr
from keras_su.snippets import DataGenerator, open, sequence_padding
from keras_su.tokenizers import Tokenizer
from keras.layers import Dense, Dropout, Lambda

set_gelu('tanh')  # 切换 gelu 版本

maxlen = 16
batch_size = 8
num_classes = 2
config_path = 'bert/bert_config.json'
checkpoint_path = 'bert/bert_model.ckpt'
dict_path = 'bert/vocab.txt'


def load_data(filename):
    D = []
    with open(filename, encoding='utf-8') as f:
        for l in f:
            text, label = l.strip().split('\t')
            D.append((text, int(label)))
    return D


train_data = load_data('sentiment.train.data')
valid_data = load_data('sentiment.valid.data')
tokenizer = Tokenizer(dict_path, do_lower_case=True)


class data_generator(DataGenerator):
    def __iter__(self, random=False):
        batch_token_ids, batch_segment_ids, batch_labels = [], [], []
        for is_end, (text, label) in self.sample(random):
            token_ids, segment_ids = tokenizer.encode(text, maxlen=maxlen)
            batch_token_ids.append(token_ids)
            batch_segment_ids.append(segment_ids)
            batch_labels.append([label])
            if len(batch_token_ids) == self.batch_size or is_end:
                batch_token_ids = sequence_padding(batch_token_ids)
                batch_segment_ids = sequence_padding(batch_segment_ids)
                batch_labels = sequence_padding(batch_labels)
                yield [batch_token_ids, batch_segment_ids], batch_labels
                batch_token_ids, batch_segment_ids, batch_labels = [], [], []


train_generator = data_generator(train_data, batch_size)
valid_generator = data_generator(valid_data, batch_size)

bert = build_transformer_model(
    config_path=config_path, checkpoint_path=checkpoint_path, model='bert', return_keras_model=False
)
output = Lambda(lambda x: x[:, 0], name='CLS-token')(bert.model.output)
output = Dropout(0.1)(output)
output = Dense(units=num_classes, activation='softmax', kernel_initializer=bert.initializer)(output)
model = keras.models.Model(bert.model.input, output)
model.summary(print_fn=lambda *_, **__: None)

AdamLR = extend_with_piecewise_linear_lr(Adam, name='AdamLR')
model.compile(
    loss='sparse_categorical_crossentropy',
    optimizer=AdamLR(learning_rate=5e-3, lr_schedule={4: 1, 24: 0.1}),
    metrics=['accuracy'],
)


def evaluate(data):
    total, right = 0., 0.
    for x_true, y_true in data:
        y_pred = model.predict(x_true).argmax(axis=1)
        y_true = y_true[:, 0]
        total += len(y_true)
        right += (y_true == y_pred).sum()
    return right / total


class Evaluator(keras.callbacks.Callback):
    def __init__(self):
        self.best_val_acc = 0.

    def on_epoch_end(self, epoch, logs=None):
        val_acc = evaluate(valid_generator)
        if val_acc >= self.best_val_acc:
            self.best_val_acc = val_acc
            model.save_weights('best_model.weights')


evaluator = Evaluator()
history = model.fit(
    train_generator.forfit(),
    steps_per_epoch=len(train_generator),
    epochs=6,
    callbacks=[evaluator],
    verbose=0,
)
model.load_weights('best_model.weights')
test_acc = evaluate(valid_generator)
text_ids, text_segments = tokenizer.encode(u'这个真好')
probability = model.predict([np.array([text_ids]), np.array([text_segments])])[0]
set_gelu('erf')
