"""Settings for all tests: a backend, quiet logs, and the same random numbers at every run."""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# JAX compiles every small operation for every shape: once, then, for all processes and for the next run, too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Tiny models are compiled for longer than they run: XLA, of JAX and TensorFlow, leaves out its costly passes.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras  # reads the variables above
import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not fail a test, hence no deadline; a failure must come again, hence no random examples.
settings.register_profile("keras_su", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keras_su")

collect_ignore = ["old_scripts"]  # programs that need their data files; test_old_scripts.py runs them


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Seed Python, numpy and the backend."""
    keras.utils.set_random_seed(20240229)
