"""Package metadata. Tool settings are in ``pyproject.toml``, pinned versions for development in ``requirements/``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "keras_su" / "__init__.py").read_text(encoding="utf-8"))[1]

EXTRAS = {
    "tensorflow": ["tensorflow>=2.18"],
    "jax": ["jax>=0.5"],
    "torch": ["torch>=2.5"],
    "hub": ["huggingface_hub>=0.30"],
    "modelscope": ["modelscope>=1.20"],
    "sentencepiece": ["sentencepiece>=0.2"],
    "bpe": ["tokenizers>=0.20"],
    "zh": ["rjieba>=0.2"],
    "grammar": ["llguidance>=1.0"],
    "metrics": ["sacrebleu>=2.4"],
    "serve": ["fastapi>=0.110", "uvicorn>=0.30"],
    "plot": ["matplotlib>=3.8"],
    "examples": ["scikit-learn>=1.5"],
    "test": ["pytest>=8", "pytest-xdist>=3", "hypothesis>=6", "ruff>=0.8"],
}
OPTIONAL = ("sentencepiece", "bpe", "zh", "grammar", "metrics", "serve", "plot", "examples")
EXTRAS["test"] += [line for name in OPTIONAL for line in EXTRAS[name]]
EXTRAS["test"] += ["httpx>=0.27", "websockets>=13"]

setup(
    name="keras_su",
    version=VERSION,
    description="Chinese Transformer models and layers for Keras 3, in the tradition of bert4keras",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["keras_su", "keras_su.*", "weights_convert", "weights_convert.*"]),
    package_data={"weights_convert": ["checkpoints.json"]},
    install_requires=[
        "keras>=3.15",
        "numpy>=1.26",
        "h5py>=3.10",
        "safetensors>=0.8",
        "ml_dtypes>=0.4",
        "jieba>=0.42",
        "tqdm>=4.60",
    ],
    extras_require=EXTRAS,
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
