"""Crops of scikit-image's photograph of gravel, and what may lie on it, flow over it or split it."""

from __future__ import annotations

from functools import cache

import numpy as np
from marks import (
    Array,
    along,
    blob,
    decode,
    encode,
    fbm,
    grid,
    lay_thread,
    over,
    rotated,
    shadowed,
    smoothstep,
    through_lens,
    wander,
)
from scipy import ndimage
from skimage import data

KINDS = {"crack": 3, "spill": 3, "foreign_object": 3, "mortar": 3}
NOISE, NOTICEABLE = 0.012, 0.06
CLOSE = {"crack": 2, "spill": 5, "foreign_object": 4, "mortar": 4}  # px, see marks.changed
ENLARGED = 880  # px; the source has 512


@cache
def photograph() -> Array:
    """The source enlarged to (ENLARGED, ENLARGED), linear light, slightly sharpened."""
    source = data.gravel().astype(float) / 255
    large = np.clip(ndimage.zoom(source, ENLARGED / len(source), order=3), 0, 1)
    return decode(np.clip(large + 0.7 * (large - ndimage.gaussian_filter(large, 1.5)), 0, 1))


def crop(rng: np.random.Generator, size: int, split: str) -> Array:
    """One of the eight orientations of a random window; train from the left half, test from the right."""
    half = ENLARGED // 2
    left = int(rng.integers(0, half - size + 1)) + (0 if split == "train" else half)
    top = int(rng.integers(0, ENLARGED - size + 1))
    window = np.rot90(photograph()[top : top + size, left : left + size], int(rng.integers(4)))
    return window[:, ::-1] if rng.random() < 0.5 else window


def spot(rng: np.random.Generator, n: int, margin: float = 0.24) -> tuple[float, float]:
    """A place for a defect, x and y in px from the middle."""
    x, y = rng.uniform(-margin * n, margin * n, 2)
    return float(x), float(y)


def stones(image: Array) -> Array:
    """Rough height (n, n) of the stones, about 0 to 1: tops are bright, gaps are dark."""
    grey = encode(image.mean(axis=2))
    level = ndimage.gaussian_filter(grey, 2.0)
    around = ndimage.gaussian_filter(grey, 30)
    return np.clip(0.5 + 1.6 * (level - around), 0, 1)


def jagged(rng: np.random.Generator, start: tuple[float, float], angle: float, length: float) -> Array:
    """Line of short straight runs with sudden turns, the way a brittle body breaks; (p, 2) in px, 1 px apart."""
    headings: list[float] = []
    lean = 0.0
    while len(headings) < length:
        lean = 0.45 * lean + rng.normal(0, 0.5)
        headings += [angle + lean] * int(rng.uniform(3, 13))
    heading = np.array(headings[: int(length)]) + rng.normal(0, 0.25, int(length))
    return np.asarray(start) + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)


def parted(image: Array, path: Array, wide: float, taper: tuple[float, float], rng: np.random.Generator) -> Array:
    """Image split along a line: a deep gap with worn edges, whose lower right wall is lit.

    Args:
        image: (n, n, 3) linear light.
        path: (p, 2) points as from `jagged`.
        wide: Half the opening in px where it is widest.
        taper: Share of the length over which the opening grows at the start and shrinks at the end.
        rng: Source of the changes in width.
    """
    n = len(image)
    distance, position = along(path, n, 30)
    mouth = smoothstep(position, 0, taper[0]) if taper[0] else 1.0
    mouth = ndimage.gaussian_filter(mouth * smoothstep(position, 1.0, 1.0 - taper[1]), 1.0)
    half = wide * mouth * np.clip(1 + 0.40 * fbm(rng, n, 24, octaves=3), 0.3, 2)
    gap = np.abs(distance)
    side = np.stack(np.gradient(ndimage.gaussian_filter(gap, 1.0)))
    facing = np.clip(-0.6 * side[1] - 0.7 * side[0], -1, 1)
    inside = smoothstep(gap - half, 0.6, -0.6) * smoothstep(half, 0.15, 0.6)
    rim = np.exp(-(((gap - half - 0.9) / 0.9) ** 2)) * smoothstep(half, 0.3, 1.2)
    edged = (
        image * (1 - 0.30 * rim * facing - 0.20 * smoothstep(gap - half, 5, 0) * smoothstep(half, 0.3, 1.2))[..., None]
    )
    wall = np.clip(0.05 + 0.22 * np.clip(facing, 0, 1) * smoothstep(gap / (half + 0.3), 0.2, 1.0), 0, 1)
    return over(edged, 0.004 + wall[..., None] * image, inside)


def cracked(image: Array, rng: np.random.Generator, variant: int) -> Array:
    """A crack through stones and binder alike, with finer branches."""
    n = len(image)
    length, width = ((0.95, 2.6), (0.65, 1.8), (0.85, 3.2))[variant % 3]
    heading = rng.uniform(0, np.pi)
    trunk = jagged(rng, (0, 0), heading, length * n)
    trunk = trunk - trunk.mean(axis=0) + np.asarray(spot(rng, n, 0.1))
    for k in rng.uniform(0.25, 0.75, 2 + variant % 2):
        start = trunk[int(k * len(trunk))]
        turn = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
        branch = jagged(rng, tuple(start), turn, rng.uniform(0.14, 0.30) * n)
        image = parted(image, branch, 0.55 * width, (0.0, 0.7), rng)
    return parted(image, trunk, width, (0.3, 0.4), rng)


def spilled(image: Array, rng: np.random.Generator, variant: int) -> Array:
    """Oil, water or rusty liquid: darker and glossier stones, a ragged soft edge, splashes around it."""
    n = len(image)
    size = (0.20, 0.25, 0.15)[variant % 3] * n
    tint = np.array(((0.13, 0.115, 0.10), (0.40, 0.40, 0.41), (0.42, 0.26, 0.15))[variant % 3])
    centre = spot(rng, n, 0.18)
    field = blob(rng, n, centre, (size, size * rng.uniform(0.6, 0.85)), 0.20)
    for _ in range(5):
        away = np.asarray(centre) + rng.standard_normal(2) * size * 1.0
        drop = rng.uniform(0.012, 0.03) * n
        field = np.maximum(field, 0.6 * blob(rng, n, tuple(away), (drop, drop), 0.2))
    wet = smoothstep(field + 0.22 * (0.5 - stones(image)), -0.06, 0.22)
    grey = encode(image.mean(axis=2))
    gloss = smoothstep(ndimage.gaussian_filter(grey, 0.8) - ndimage.gaussian_filter(grey, 6), 0.10, 0.28)
    soaked = image * tint * (0.75 + 0.5 * grey[..., None]) + (0.10 if variant % 3 != 2 else 0.02) * gloss[..., None]
    return over(image, soaked, wet * (0.94, 0.85, 0.88)[variant % 3])


def mortared(image: Array, rng: np.random.Generator, variant: int) -> Array:
    """Mortar smeared over the stones with a trowel: gaps are filled, the surface is flat and streaked."""
    n = len(image)
    size = (0.15, 0.11, 0.19)[variant % 3] * n
    centre, heading = spot(rng, n, 0.18), rng.uniform(0, np.pi)
    field = blob(rng, n, centre, (size, size * 0.6), 0.24)
    x, y = rotated(*grid(n), heading)
    coarse = fbm(rng, n, 12, octaves=3)
    streak = ndimage.map_coordinates(
        coarse, [np.clip(y + n / 2, 0, n - 1), np.clip(0.12 * x + n / 2, 0, n - 1)], order=1
    )
    fill = smoothstep(field, -0.10, 0.45) * (1.15, 0.85, 0.72)[variant % 3] + 0.07 * streak
    bed = ndimage.gaussian_filter(stones(image), 1.5)
    cover = smoothstep(fill - bed, -0.02, 0.09) * smoothstep(field, -0.15, 0.0)
    surface = ndimage.gaussian_filter(0.55 * bed, 3) + 0.06 * streak + 0.35 * ndimage.gaussian_filter(cover, 2.5)
    gy, gx = np.gradient(surface)
    grain = fbm(rng, n, 3, octaves=2)
    light = np.clip(1 - 3.0 * gx - 3.6 * gy, 0.3, 1.8) * (1 + 0.10 * grain + 0.05 * fbm(rng, n, 40))
    colour = np.array(((0.34, 0.33, 0.31), (0.40, 0.375, 0.33), (0.27, 0.26, 0.25))[variant % 3])
    return over(shadowed(image, cover, (1, 1.5), 1.5, 0.3), colour * light[..., None], cover)


def washer(image: Array, rng: np.random.Generator) -> Array:
    """A worn steel washer that lies slightly tilted on the stones."""
    n = len(image)
    centre, outer = spot(rng, n), 0.075 * n
    x, y = grid(n)
    u, v = rotated(x - centre[0], y - centre[1], rng.uniform(0, np.pi))
    v = v / rng.uniform(0.80, 0.92)
    r = np.hypot(u, v)
    ring = np.minimum(outer - r, r - 0.46 * outer)
    cover = smoothstep(ring, -0.8, 0.8)
    gy, gx = np.gradient(1.6 * smoothstep(ring, -1, 3.5) + 0.05 * fbm(rng, n, 18))
    wear = fbm(rng, n, 14, octaves=4)
    angle = np.arctan2(v, u)
    gleam = 0.5 + 0.5 * np.cos(2 * (angle - rng.uniform(0, np.pi)))
    light = 0.26 + 0.24 * gleam - 0.42 * gx - 0.5 * gy + 0.02 * wear
    steel = np.array([0.98, 0.97, 0.94]) * np.clip(light, 0.02, 1)[..., None]
    rust = smoothstep(wear, 0.7, 1.7)[..., None]
    steel = (1 - 0.75 * rust) * steel + 0.75 * rust * np.array([0.20, 0.085, 0.03])
    image = shadowed(image, cover, (5, 6), 2.6, 0.75) * (1 - 0.45 * smoothstep(r, 0.6 * outer, 0.4 * outer))[..., None]
    return over(image, steel, cover)


def leaf(image: Array, rng: np.random.Generator) -> Array:
    """A dry leaf: curled blade with a midrib and side veins, a short stalk, a soft shadow."""
    n = len(image)
    centre, heading, long = spot(rng, n, 0.2), rng.uniform(0, 2 * np.pi), 0.21 * n
    x, y = grid(n)
    u, v = rotated(x - centre[0], y - centre[1], heading)
    t = u / long + 0.5
    bent = v - 0.10 * long * np.sin(2.6 * (t - 0.2))
    half = 0.80 * long * np.clip(t, 0, 1) ** 0.75 * np.clip(1 - t, 0, 1) ** 0.95
    half = half * (1 + 0.06 * np.sign(bent) * np.sin(34 * t)) + 0.7 * fbm(rng, n, 12, octaves=3)
    cover = smoothstep(half - np.abs(bent), -0.8, 0.8) * smoothstep(t, 0.0, 0.02) * smoothstep(t, 1.0, 0.98)
    s = bent / np.maximum(half, 1)
    veins = np.exp(-(((np.mod(t * 9 - 1.1 * np.abs(s) * 0.9, 1.0) - 0.5) / 0.10) ** 2)) * smoothstep(np.abs(s), 1, 0.6)
    rib = np.exp(-((bent / 1.3) ** 2))
    height = (
        4.5 * s**2 * np.sign(s) + 3.0 * np.abs(s) ** 1.5 + 0.9 * rib + 0.4 * veins + 0.9 * fbm(rng, n, 26, octaves=3)
    )
    gy, gx = np.gradient(height)
    mottle = fbm(rng, n, 30, octaves=5)
    light = np.clip(0.80 - 0.55 * gx - 0.65 * gy, 0.15, 1.7)
    colour = (
        np.array([0.30, 0.145, 0.042]) * (1 + 0.18 * mottle)[..., None]
        + np.array([0.10, 0.07, 0.03]) * (rib + 0.3 * veins)[..., None]
    )
    spots = smoothstep(fbm(rng, n, 16), 1.2, 1.9)[..., None]
    colour = colour * (1 - 0.6 * spots)
    image = shadowed(image, cover, (4, 5), 2.2, 0.7)
    image = over(image, colour * light[..., None], cover)
    base = np.asarray(centre) - 0.5 * long * np.array([np.cos(heading), np.sin(heading)])
    bend = 0.10 * long * np.sin(2.6 * -0.2)
    base = base - bend * np.array([-np.sin(heading), np.cos(heading)]) * -1
    stalk = wander(rng, tuple(base), heading + np.pi, 0.05 * n, 0.25)
    return lay_thread(image, stalk, np.linspace(1.5, 1.0, len(stalk)), (0.24, 0.13, 0.05), fbm(rng, n, 4, octaves=1))


def twig(image: Array, rng: np.random.Generator) -> Array:
    """A forked twig with bark."""
    n = len(image)
    heading = rng.uniform(0, np.pi)
    main = wander(rng, (0, 0), heading, 0.46 * n, 0.16)
    main = main - main.mean(axis=0) + np.asarray(spot(rng, n, 0.12))
    bark = fbm(rng, n, 7, octaves=3)
    k = int(0.45 * len(main))
    fork = wander(rng, tuple(main[k]), heading + rng.choice([-1, 1]) * 0.65, 0.16 * n, 0.2)
    for path, thick in ((fork, 1.9), (main, 3.4)):
        radius = np.linspace(thick, 0.45 * thick, len(path)) * (1 + 0.10 * np.sin(np.arange(len(path)) / 6.0))
        image = lay_thread(image, path, radius, (0.165, 0.105, 0.062), 1.5 * bark, lift=2.4)
    return image


def render(
    scene: np.random.Generator, defect: np.random.Generator, size: int, split: str, kind: str | None, variant: int
) -> tuple[Array, Array]:
    """Noiseless image without and with the defect, each (size, size, 3) in [0, 1]; the same for kind None."""
    window = crop(scene, size, split) ** scene.normal(1.0, 0.03)
    warm = np.array([1.05, 1.0, 0.90]) * (1 + scene.normal(0, 0.01, 3)) * scene.normal(1.08, 0.04)
    hue = 0.07 * fbm(scene, size, 26, octaves=3)[..., None] * np.array([1.0, 0.1, -1.0])
    ground = window[..., None] * (1 + hue)
    lens = {"blur": 0.3, "vignette": 0.14, "gain": warm}
    clean = through_lens(ground, size, **lens)
    if kind is None:
        return clean, clean
    marks = {"crack": cracked, "spill": spilled, "mortar": mortared}
    if kind in marks:
        return clean, through_lens(marks[kind](ground, defect, variant), size, **lens)
    return clean, through_lens((washer, leaf, twig)[variant % 3](ground, defect), size, **lens)
