"""Weight files: opening every common format, and writing TensorFlow checkpoints, safetensors and ``.npz``."""

from keras_su.weights.reader import Reader
from keras_su.weights.readers import open_checkpoint
from keras_su.weights.writers import write_hf_folder, write_npz, write_safetensors, write_tf_bundle

__all__ = ["Reader", "open_checkpoint", "write_hf_folder", "write_npz", "write_safetensors", "write_tf_bundle"]
