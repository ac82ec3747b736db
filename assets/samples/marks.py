"""Noise, curves, blobs and the camera: what the three subjects of the sample images share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
BLUR_TO_EYE = 0.8  # px; differences finer than this are not counted into a mask


def smoothstep(x: Array, low: float, high: float) -> Array:
    """Cubic ramp from 0 (x <= low) to 1 (x >= high); low > high gives the falling ramp."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def grid(n: int) -> tuple[Array, Array]:
    """Pixel coordinates x, y, each (n, n), zero in the middle of the image."""
    axis = np.arange(n) - (n - 1) / 2.0
    x, y = np.meshgrid(axis, axis)
    return x, y


def rotated(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates of the same points in axes turned by angle (radians)."""
    return np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y


def dot(a: Array, b: Array) -> Array:
    """Scalar product over the last axis (3 long), in an order that does not depend on the linear algebra library."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _stretched(knots: Array, at: Array) -> Array:
    """Cubic B-spline with the given knots along the first axis, read at the places at."""
    i, t = np.floor(at).astype(int), (at % 1.0)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum(w / 6.0 * knots[i + k] for k, w in enumerate(weights))


def fbm(rng: np.random.Generator, n: int, scale: float, octaves: int = 4, gain: float = 0.55) -> Array:
    """Fractal noise of mean 0 and standard deviation 1.

    Args:
        rng: Source of the noise.
        n: Side of the square result.
        scale: Size in px of the coarsest lumps; each further octave halves it, down to 2 px.
        octaves: Number of layers at most.
        gain: Weight of an octave relative to the coarser one before it.
    Returns:
        (n, n) float64.
    """
    total = np.zeros((n, n))
    for octave in range(octaves):
        step = scale / 2**octave
        if step < 2 and octave:
            break
        cells = int(np.ceil(n / step)) + 5
        coarse = rng.standard_normal((cells, cells))
        rows, cols = (np.arange(n) / step + offset for offset in rng.uniform(0, 1, 2))
        layer = _stretched(_stretched(coarse, rows).T, cols).T
        total += gain**octave * layer
    return (total - total.mean()) / total.std()


def blob(
    rng: np.random.Generator, n: int, centre: tuple[float, float], radii: tuple[float, float], rough: float
) -> Array:
    """Irregular patch as a field that is 1 in its middle, 0 on its edge and negative outside; (n, n).

    Args:
        rng: Source of the outline.
        n: Side of the image in px.
        centre: x, y in px from the middle of the image.
        radii: Half axes in px before roughening.
        rough: 0 is an ellipse; 0.3 is ragged.
    """
    x, y = grid(n)
    u, v = rotated(x - centre[0], y - centre[1], rng.uniform(0, np.pi))
    lumps = fbm(rng, n, 1.6 * min(radii), octaves=5, gain=0.5)
    return 1.0 - np.hypot(u / radii[0], v / radii[1]) + rough * lumps


def wander(rng: np.random.Generator, start: tuple[float, float], angle: float, length: float, bend: float) -> Array:
    """Wandering line, one point per px.

    Args:
        rng: Source of the turns.
        start: x, y in px from the middle of the image.
        angle: Heading at the start, radians.
        length: Arc length in px.
        bend: Standard deviation of the slow change of heading, radians.
    Returns:
        (length, 2) points x, y.
    """
    steps = max(int(length), 4)
    turn = ndimage.gaussian_filter1d(rng.standard_normal(steps), steps / 8.0, mode="reflect")
    small = ndimage.gaussian_filter1d(rng.standard_normal(steps), max(steps / 40.0, 2.0), mode="reflect")
    turn = turn / (turn.std() + 1e-9) + 0.3 * small / (small.std() + 1e-9)
    heading = angle + bend * (turn - turn[0])
    return np.asarray(start) + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)


def along(path: Array, n: int, reach: float) -> tuple[Array, Array]:
    """Signed distance to a line and position along it.

    Args:
        path: (p, 2) points x, y in px from the middle of the image, about 1 px apart.
        n: Side of the image.
        reach: Distances beyond this many px are reported as reach.
    Returns:
        distance (n, n), negative on the left of the line, and position (n, n) in [0, 1].
    """
    x, y = grid(n)
    distance, position = np.full((n, n), float(reach)), np.zeros((n, n))
    low, high = path.min(axis=0) - reach, path.max(axis=0) + reach
    near = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])
    if not near.any():
        return distance, position
    points = np.stack([x[near], y[near]], axis=1)
    dense = np.arange(4 * len(path) - 3) / 4.0
    path = np.stack([np.interp(dense, np.arange(len(path)), path[:, k]) for k in (0, 1)], axis=1)
    gap, index = cKDTree(path).query(points, distance_upper_bound=reach)
    found = np.isfinite(gap)
    index = np.where(found, index, 0)
    forward = np.gradient(path, axis=0)[index]
    away = points - path[index]
    side = np.sign(forward[:, 0] * away[:, 1] - forward[:, 1] * away[:, 0])
    distance[near] = np.where(found, np.where(side == 0, 1, side) * np.minimum(gap, reach), reach)
    position[near] = index / (len(path) - 1)
    return distance, position


def over(image: Array, colour: Array, alpha: Array) -> Array:
    """Colour laid over an image (n, n, 3) with opacity alpha (n, n)."""
    return image + alpha[..., None] * (colour - image)


def shadowed(image: Array, cover: Array, shift: tuple[float, float], blur: float, depth: float) -> Array:
    """Image darkened by the soft shadow of something with opacity cover, shifted by (x, y) px."""
    shade = ndimage.gaussian_filter(ndimage.shift(cover, (shift[1], shift[0]), order=1), blur)
    return image * (1.0 - depth * np.clip(shade, 0, 1))[..., None]


def lay_thread(
    image: Array,
    path: Array,
    radius: Array | float,
    colour: tuple[float, float, float],
    grain: Array,
    lift: float = 1.5,
    twist: float = 0.0,
) -> Array:
    """Round thread or twig lying on the image, lit from the upper left, with its shadow.

    Args:
        image: (n, n, 3) linear light.
        path: (p, 2) points as from `wander`.
        radius: Half thickness in px, one number or one per point of the path.
        colour: Linear albedo.
        grain: (n, n) noise of standard deviation 1 that roughens outline and brightness.
        lift: Height above ground in px, which sets how far the shadow falls.
        twist: Contrast of the strands a thread is spun from, 0 for none.
    Returns:
        (n, n, 3) linear light.
    """
    n = len(image)
    widths = np.broadcast_to(np.asarray(radius, dtype=float), (len(path),))
    distance, position = along(path, n, 4.0 * widths.max() + 2)
    width = np.interp(position, np.linspace(0, 1, len(path)), widths) * (1 + 0.08 * grain)
    across = np.clip(distance / width, -1, 1)
    cover = smoothstep(width - np.abs(distance), -0.6, 0.6)
    forward = np.gradient(path, axis=0)
    step = np.clip((position * (len(path) - 1)).astype(int), 0, len(path) - 1)
    facing = (-forward[step, 1] * -0.6 + forward[step, 0] * -0.7) * across
    light = np.clip(0.55 * np.sqrt(np.clip(1 - across**2, 0, 1)) + 0.5 * facing + 0.18, 0.04, None) * (1 + 0.12 * grain)
    light = light * (1 + twist * np.sin(position * len(path) / (0.55 * width) + 2.2 * across))
    image = shadowed(image, cover, (1.6 * lift, 1.8 * lift), 0.5 * lift + 0.6, 0.55)
    return over(image, np.asarray(colour) * light[..., None], cover)


def encode(linear: Array) -> Array:
    """Linear light to image values in [0, 1]."""
    return np.clip(linear, 0, 1) ** (1 / 2.2)


def decode(values: Array) -> Array:
    """Image values in [0, 1] to linear light."""
    return np.asarray(values, dtype=float) ** 2.2


def through_lens(linear: Array, size: int, blur: float, vignette: float, gain: Array | float = 1.0) -> Array:
    """Image values a noiseless camera would record.

    Args:
        linear: (k * size, k * size, 3) linear light, k whole.
        size: Side of the result.
        blur: Standard deviation of the lens blur, px of the result.
        vignette: Loss of light in the corners, 0 to 1.
        gain: Exposure, one number or one per colour.
    Returns:
        (size, size, 3) in [0, 1].
    """
    k = len(linear) // size
    soft = ndimage.gaussian_filter(linear, (blur * k, blur * k, 0))
    small = soft.reshape(size, k, size, k, 3).mean(axis=(1, 3))
    x, y = grid(size)
    fall = 1.0 - vignette * (x**2 + y**2) / (size**2 / 2.0)
    return encode(small * fall[..., None] * gain)


def on_sensor(values: Array, rng: np.random.Generator, noise: float) -> NDArray[np.uint8]:
    """Image of 8 bits with sensor noise: mostly grey, slightly coloured, one part finer than the other."""
    n = len(values)
    grey = rng.standard_normal((n, n, 1)) + 1.2 * ndimage.gaussian_filter(rng.standard_normal((n, n, 1)), (0.8, 0.8, 0))
    colour = ndimage.gaussian_filter(rng.standard_normal((n, n, 3)), (1.0, 1.0, 0))
    strength = noise * (1.35 - 0.7 * values.mean(axis=2, keepdims=True))
    return np.clip(np.rint(255 * (values + strength * (0.75 * grey + 0.6 * colour))), 0, 255).astype(np.uint8)


def changed(clean: Array, defective: Array, threshold: float, close: int) -> NDArray[np.uint8]:
    """Mask of the noticeable difference between two noiseless images of the same scene.

    Args:
        clean, defective: (n, n, 3) in [0, 1].
        threshold: Smallest noticeable difference of the strongest colour, in [0, 1].
        close: Gaps up to about this many px are closed, and so are enclosed islands; specks are dropped.
    Returns:
        (n, n) uint8, 255 where changed.
    """
    soft = ndimage.gaussian_filter(np.abs(defective - clean).max(axis=2), BLUR_TO_EYE)
    ball = np.hypot(*np.mgrid[-close : close + 1, -close : close + 1]) <= close + 0.3
    padded = np.pad(soft > threshold, close)
    mask = ndimage.binary_closing(padded, ball)[close:-close, close:-close]
    holes, n_holes = ndimage.label(~mask)
    sizes = ndimage.sum_labels(~mask, holes, np.arange(1, n_holes + 1))
    mask |= np.isin(holes, 1 + np.flatnonzero(sizes < 60))
    pieces, n_pieces = ndimage.label(mask, np.ones((3, 3)))
    sizes = ndimage.sum_labels(mask, pieces, np.arange(1, n_pieces + 1))
    keep = np.isin(pieces, 1 + np.flatnonzero(sizes >= 14))
    return np.where(keep, 255, 0).astype(np.uint8)
