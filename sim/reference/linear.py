"""Float64 outside truth: butterfly products, Fourier transforms, two-dimensional mixing.

Nothing here knows the array: no shifts, no fixed point, no unit pivot.
"""

import numpy as np

__all__ = ["butterfly_multiply", "fft", "inverse_fft", "mixing"]


def butterfly_multiply(twiddle: np.ndarray, x: np.ndarray, increasing_stride: bool = True,
                       out_size: int | None = None) -> np.ndarray:
    """Product of butterfly factors with the rows of ``x``, torch-butterfly layout.

    ``twiddle`` has shape (nstacks, nblocks, log_n, n/2, 2, 2), real or complex; ``x`` (..., in_size) with
    in_size <= n is padded with zeros at its end. Each block applies log_n factors; the direction of the
    strides flips after each block. The outputs of the stacks are concatenated and the first ``out_size``
    (default: all) are kept: result (..., out_size).

    Raises ValueError naming the shape that does not fit.
    """
    if twiddle.ndim != 6 or twiddle.shape[4:] != (2, 2):
        raise ValueError(f"twiddle: shape {twiddle.shape} is not (nstacks, nblocks, log_n, n/2, 2, 2)")
    n_stacks, n_blocks, log_n, half = twiddle.shape[:4]
    n = 1 << log_n
    if 2 * half != n:
        raise ValueError(f"twiddle: {half} blocks in a factor of size {n}; allowed are {n // 2}")
    if x.shape[-1] > n:
        raise ValueError(f"x: {x.shape[-1]} elements in a row; at most {n} fit the twiddle")
    out_size = n_stacks * n if out_size is None else out_size
    if not 0 < out_size <= n_stacks * n:
        raise ValueError(f"out_size: {out_size} is not in 1..{n_stacks * n}")

    rows = np.zeros((*x.shape[:-1], n_stacks, n), dtype=np.result_type(twiddle, x, np.float64))
    rows[..., :x.shape[-1]] = x[..., None, :]
    for block in range(n_blocks):
        upward = increasing_stride == (block % 2 == 0)
        for factor in range(log_n):
            log_stride = factor if upward else log_n - 1 - factor
            rows = _factor(twiddle[:, block, factor], rows, 1 << log_stride)
    return rows.reshape(*x.shape[:-1], n_stacks * n)[..., :out_size]


def _factor(factor: np.ndarray, rows: np.ndarray, stride: int) -> np.ndarray:
    """One factor (nstacks, n/2, 2, 2) on rows (..., nstacks, n): pair blk*stride + off joins elements
    blk*2*stride + off and that + stride."""
    n_stacks, n = rows.shape[-2:]
    pairs = rows.reshape(*rows.shape[:-1], n // (2 * stride), 2, stride)
    blocks = factor.reshape(n_stacks, n // (2 * stride), stride, 2, 2)
    return np.einsum("sboyx,...sbxo->...sbyo", blocks, pairs).reshape(rows.shape)


def fft(x: np.ndarray) -> np.ndarray:
    """Unscaled Fourier transform along the last axis, X[k] = sum of x[i] exp(-2 pi j i k / N)."""
    return np.fft.fft(x)


def inverse_fft(x: np.ndarray) -> np.ndarray:
    """Inverse of :func:`fft`, with its factor 1/N."""
    return np.fft.ifft(x)


def mixing(x: np.ndarray) -> np.ndarray:
    """Fourier mixing of real ``x`` (..., tokens, hidden): Re(FFT_tokens(FFT_hidden(x)))."""
    return np.fft.fft2(x).real
