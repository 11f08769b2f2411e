"""Filters set by hand: the classic kernels, what one makes of an image, and a network of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from cnnkit._pixels import scaled
from cnnkit.errors import ArgumentError, DataError, ImageTooSmallError

__all__ = ["FilterNet", "apply_filter", "blur", "course_filters", "sobel_x", "sobel_y"]

SobelKind: TypeAlias = Literal["3x3", "decimal", "5x5"]
#: One filter (kh, kw), or several of one size.
Filters: TypeAlias = "Tensor | np.ndarray[Any, Any] | Sequence[Any]"
_Image = TypeVar("_Image", Tensor, np.ndarray[Any, Any])

#: Each is an outer product: smoothing down the columns, a difference along the rows.
_SOBEL: dict[str, tuple[list[float], list[float]]] = {
    "3x3": ([1, 2, 1], [-1, 0, 1]),
    "decimal": ([1.5, 2.5, 1.5], [-1, 0, 1]),
    "5x5": ([1, 4, 6, 4, 1], [-1, -2, 0, 2, 1]),
}


def sobel_x(kind: SobelKind = "3x3") -> Tensor:
    """Sobel's filter for changes from left to right: it answers to vertical edges.

    Args:
        kind: "3x3" is the classic one, "decimal" the same with ±1.5 and ±2.5 for ±1 and ±2,
            "5x5" looks at a wider surrounding and adds up more.

    Returns:
        Float32 (3, 3) or (5, 5). Its values sum to 0: an even area gives 0.

    Raises:
        ArgumentError: `kind` is unknown.

    Example:
        >>> sobel_x()
        tensor([[-1.,  0.,  1.],
                [-2.,  0.,  2.],
                [-1.,  0.,  1.]])

    Source: Sobel & Feldman, "A 3x3 isotropic gradient operator for image processing", 1968; "5x5"
    as OpenCV's `Sobel` with `ksize=5`.
    """
    if kind not in _SOBEL:
        raise ArgumentError(f"kind must be one of {get_args(SobelKind)}, received {kind!r}")
    smooth, difference = _SOBEL[kind]
    return torch.outer(torch.tensor(smooth), torch.tensor(difference, dtype=torch.float32))


def sobel_y(kind: SobelKind = "3x3") -> Tensor:
    """Sobel's filter for changes from top to bottom: it answers to horizontal edges.

    Args:
        kind: As for `sobel_x`, whose transpose this is.

    Returns:
        Float32 (3, 3) or (5, 5).

    Raises:
        ArgumentError: `kind` is unknown.

    Example:
        >>> sobel_y("decimal")
        tensor([[-1.5000, -2.5000, -1.5000],
                [ 0.0000,  0.0000,  0.0000],
                [ 1.5000,  2.5000,  1.5000]])
    """
    return sobel_x(kind).T.contiguous()


def blur(size: int = 3) -> Tensor:
    """The mean of a square: it takes noise away, and sharpness with it.

    Args:
        size: Side of the square in pixels.

    Returns:
        Float32 (size, size); its values sum to 1, so that brightness stays as it was.

    Raises:
        ArgumentError: `size` is no positive int.

    Example:
        >>> blur(2)
        tensor([[0.2500, 0.2500],
                [0.2500, 0.2500]])
    """
    if type(size) is not int or size < 1:
        raise ArgumentError(f"size must be a positive int, in pixels, received {size!r}")
    return torch.full((size, size), 1 / size**2)


def course_filters() -> Tensor:
    """The four filters of the course: an edge to a brighter side at right, left, bottom and top.

    Returns:
        Float32 (4, 4, 4). The first has columns of −1 −1 1 1, the second is its negative, and the
        other two are the transposes of these.

    Example:
        >>> course_filters()[0]
        tensor([[-1., -1.,  1.,  1.],
                [-1., -1.,  1.,  1.],
                [-1., -1.,  1.,  1.],
                [-1., -1.,  1.,  1.]])

    Source: Udacity, "Introduction to Deep Learning with PyTorch", the notebooks on convolutional
    and max-pooling layers.
    """
    columns = torch.tensor([-1.0, -1.0, 1.0, 1.0]).repeat(4, 1)
    return torch.stack([columns, -columns, columns.T, -columns.T])


def apply_filter(image: _Image, kernel: Filters) -> _Image:
    """What OpenCV's `filter2D(image, -1, kernel)` makes of a grey image, to the grey level.

    Correlation (the kernel is not flipped), the border reflected without the edge pixel
    (reflect-101), sums rounded and saturated: below 0 is black, above 255 white. The pixel under
    the kernel's middle is replaced; of an even side, that right of or below the middle.

    Args:
        image: Grey, uint8 (H, W) or (1, H, W), a tensor or a numpy array.
        kernel: (kh, kw) of numbers: a tensor, an array or nested lists.

    Returns:
        The filtered image, of the same kind, shape and dtype.

    Raises:
        DataError: The image has no pixels, is not grey, or is not uint8.
        ArgumentError: The kernel is no matrix of finite numbers.

    Example:
        >>> edge = torch.tensor([[10, 10, 30, 30]] * 4, dtype=torch.uint8)
        >>> apply_filter(edge, sobel_x())[0]
        tensor([ 0, 80, 80,  0], dtype=torch.uint8)
        >>> apply_filter(edge, -sobel_x())[0]
        tensor([0, 0, 0, 0], dtype=torch.uint8)

    Source: OpenCV's documentation of `filter2D` and `BorderTypes`. From about 12×12 OpenCV goes by
    way of a Fourier transform, which may round a half differently.
    """
    _check_grey(image)
    taps = as_filters(kernel)
    if taps.shape[:2] != (1, 1):
        raise ArgumentError(
            f"expected one kernel (height, width), received {tuple(taps.shape[:2])} of them: apply "
            f"them one by one"
        )
    pixels = image.cpu() if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    height, width = pixels.shape[-2:]
    rows = _reflected(height, taps.shape[-2])
    columns = _reflected(width, taps.shape[-1])
    around = pixels.reshape(height, width)[rows][:, columns]
    filtered = _sums(around, taps[0, 0]).round().clamp(0, 255).to(torch.uint8)
    if isinstance(image, Tensor):
        return filtered.view(image.shape).to(image.device)
    return filtered.view(image.shape).numpy()


class FilterNet(nn.Module):
    """One convolution whose weights are set by hand, ReLU and, if wanted, a max-pool.

    It learns nothing: its weights ask for no gradients. There is no bias and no padding, so a map
    is smaller than the image by the kernel's side less one.

    Args:
        filters: (K, kh, kw) for grey images or (K, C, kh, kw): a tensor, an array, or a list of
            matrices of one size.
        pool: Side of the max-pool's windows, in pixels; None for no pool.

    Shape:
        (N, C, H, W), float or uint8 (which is scaled to [0, 1]), to a tuple of maps: convolved and
        activated (N, K, H−kh+1, W−kw+1), and with `pool` also pooled, whose sides are divided by
        it.

    Raises:
        ArgumentError: The filters are no finite numbers of one of these shapes, or `pool` is no
            positive int.
        DataError: In `forward`, if images have another number of channels.
        ImageTooSmallError: In `forward`, if nothing would be left of the image.

    Example:
        >>> net = FilterNet(course_filters(), pool=2)
        >>> convolved, activated, pooled = net(torch.rand(1, 1, 63, 63))
        >>> activated.shape, pooled.shape
        (torch.Size([1, 4, 60, 60]), torch.Size([1, 4, 30, 30]))
    """

    def __init__(self, filters: Filters, pool: int | None = None) -> None:
        super().__init__()
        if pool is not None and (type(pool) is not int or pool < 1):
            raise ArgumentError(f"pool must be a positive int or None, received {pool!r}")
        weight = as_filters(filters)
        number, channels, height, width = weight.shape
        # On meta no weights are drawn first: torch's random state stays as it is.
        self.conv = nn.Conv2d(channels, number, (height, width), bias=False, device="meta")
        self.conv.weight = nn.Parameter(weight, requires_grad=False)
        self.relu = nn.ReLU()
        self.pool = None if pool is None else nn.MaxPool2d(pool)
        self._window = pool or 1

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(convolved, activated), or (convolved, activated, pooled), of images (N, C, H, W)."""
        self._check_images(images)
        convolved = self.conv(scaled(images))
        activated = self.relu(convolved)
        if self.pool is None:
            return convolved, activated
        return convolved, activated, self.pool(activated)

    def _check_images(self, images: Tensor) -> None:
        _, channels, *kernel = self.conv.weight.shape
        if images.ndim != 4 or images.shape[1] != channels:
            raise DataError(
                f"expected images (N, {channels}, height, width), received {tuple(images.shape)}"
                + ("; image[None] makes a batch of one" if images.ndim == 3 else "")
            )
        least = [side - 1 + self._window for side in kernel]
        if any(side < need for side, need in zip(images.shape[2:], least, strict=True)):
            raise ImageTooSmallError(
                f"filters of {kernel[0]}x{kernel[1]}"
                + ("" if self.pool is None else f" and a pool of {self._window}")
                + f" need an image of at least {least[0]}x{least[1]} pixels, received "
                f"{images.shape[2]}x{images.shape[3]}"
            )


def as_filters(filters: Filters) -> Tensor:
    """One filter, or several of one size, as float32 (K, C, kh, kw)."""
    expected = "expected filters (kh, kw), (K, kh, kw) or (K, C, kh, kw) of finite numbers"
    try:
        if isinstance(filters, Sequence):
            stacked = torch.stack([_as_tensor(one) for one in filters])
        else:
            stacked = _as_tensor(filters).clone()  # the caller's filters stay theirs
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"{expected} and of one size: {error}") from error
    if stacked.ndim not in (2, 3, 4) or stacked.numel() == 0:
        raise ArgumentError(f"{expected}, received shape {tuple(stacked.shape)}")
    if not bool(stacked.isfinite().all()):
        raise ArgumentError(f"{expected}, received nan or infinity among them")
    if stacked.ndim < 4:
        stacked = stacked.reshape(-1, 1, *stacked.shape[-2:])
    return stacked.contiguous()


def _as_tensor(values: Any) -> Tensor:
    """Float32 on the CPU; an array is copied, because torch warns of one that is read-only."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    return tensor.detach().to("cpu", torch.float32)


def _check_grey(image: Tensor | np.ndarray[Any, Any]) -> None:
    expected = "expected a grey image, uint8 (H, W) or (1, H, W)"
    if not isinstance(image, (Tensor, np.ndarray)):
        raise DataError(
            f"{expected}, as a tensor or array, received {type(image).__name__}: "
            f'np.asarray(PIL.Image.open(path).convert("L")) is one'
        )
    received = f"received {image.dtype} of shape {tuple(image.shape)}"
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[0] != 1):
        raise DataError(f'{expected}, {received}: read the file with mode="L" to make it grey')
    if image.dtype not in (torch.uint8, np.uint8):
        raise DataError(f"{expected}, {received}: grey levels are whole, from 0 to 255")
    if 0 in image.shape:
        raise DataError(f"the image has no pixels: {received}")


def _reflected(size: int, kernel: int) -> Tensor:
    """Where to read along one side, from `kernel // 2` before it to the rest behind it."""
    before = kernel // 2
    places = torch.arange(-before, size + kernel - 1 - before).abs()
    if size == 1:
        return torch.zeros_like(places)
    period = 2 * (size - 1)  # to and fro: a kernel may be larger than the image
    return torch.minimum(places % period, period - places % period)


def _sums(around: Tensor, kernel: Tensor) -> Tensor:
    """Correlation of uint8 (H+kh-1, W+kw-1) with float32 (kh, kw); float32 (H, W).

    A sum such as 0.1 + 0.4 lies on a half but for the rounding of float32, so equal grey levels
    need OpenCV's own order and rounding: row by row, multiply and add fused, but for the last
    `W % 4` columns, which its vectors of four leave over.
    """
    height, width = (side - k + 1 for side, k in zip(around.shape, kernel.shape, strict=True))
    fused, plain = torch.zeros(2, height, width)
    for row, weights in enumerate(kernel):
        for column, weight in enumerate(weights):
            if weight != 0:
                part = around[row : row + height, column : column + width]
                # In double a product is exact: rounding once, after adding, is what fusing does.
                fused = (fused.double() + weight.double() * part).float()
                plain = plain + weight * part
    vectors = width - width % 4
    return torch.cat([fused[:, :vectors], plain[:, vectors:]], dim=1)
