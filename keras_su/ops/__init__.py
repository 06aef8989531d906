"""Pure functions on tensors: no layers, no state."""
