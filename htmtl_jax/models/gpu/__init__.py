"""Attention for NVIDIA GPUs as Pallas kernels; the same sums as the plain code beside them."""
