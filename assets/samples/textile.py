"""What goes wrong with twill cloth at the loom and after it: holes, stains, weaving faults, foreign yarn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from marks import Array, blob, fbm, grid, lay_thread, over, rotated, shadowed, smoothstep, through_lens, wander
from scipy import ndimage
from textile_cloth import N_YARNS, PER_PITCH, Cloth, View, Yarns, look, shade, weave

KINDS = {"hole": 3, "stain": 3, "misweave": 3, "foreign_yarn": 3}
NOISE, NOTICEABLE = 0.014, 0.075
CLOSE = {"hole": 4, "stain": 5, "misweave": 8, "foreign_yarn": 3}  # px, see marks.changed


def with_fuzz(
    image: Array,
    rng: np.random.Generator,
    count: int,
    centre: tuple[float, float] | None = None,
    spread: float = 0.0,
    strength: float = 0.5,
) -> Array:
    """Fine loose fibres over the image, or over the surroundings of one point."""
    n = len(image)
    cover = np.zeros((n, n))
    for _ in range(count):
        start = (
            rng.uniform(-n / 2, n / 2, 2) if centre is None else np.asarray(centre) + spread * rng.standard_normal(2)
        )
        path = wander(rng, tuple(start), rng.uniform(0, 2 * np.pi), rng.uniform(0.012, 0.05) * n, rng.uniform(0.3, 1.1))
        cols, rows = np.clip((path + n / 2).astype(int), 0, n - 1).T
        cover[rows, cols] = np.maximum(cover[rows, cols], rng.uniform(0.3, 1.0))
    cover = np.clip(1.6 * ndimage.gaussian_filter(cover, 0.8), 0, 1) * strength
    image = shadowed(image, cover, (2, 2), 1.0, 0.4)
    return over(image, np.array([0.34, 0.35, 0.36]), cover)


def spot(rng: np.random.Generator, n: int, margin: float = 0.3) -> tuple[float, float]:
    """A place for a defect, x and y in px from the middle."""
    x, y = rng.uniform(-margin * n, margin * n, 2)
    return float(x), float(y)


def torn(cloth: Cloth, view: View, field: Array, rng: np.random.Generator) -> Cloth:
    """Cloth whose yarns are broken where field (n, n, positive inside) says, each with a ragged end of its own."""

    def cut(yarns: Yarns, across: Array, run: Array) -> Yarns:
        width, sway = yarns.width.copy(), yarns.sway.copy()
        inside = field > 0
        for i in np.unique(np.floor(across[inside]).astype(int)):
            strip = (np.abs(across - i - 0.5) < 0.3) & inside
            if strip.any():
                low, high = run[strip].min() + rng.normal(0.3, 0.9), run[strip].max() + rng.normal(-0.3, 0.9)
                place = np.arange(width.shape[1]) / PER_PITCH
                near = np.minimum(place - low, high - place)
                width[i] *= smoothstep(near, 0.15, -1.1) * (1 - 0.35 * smoothstep(near, -2.5, -0.5))
                bent = np.where(place < (low + high) / 2, rng.normal(0, 0.35), rng.normal(0, 0.35))
                sway[i] += bent * smoothstep(near, -2.2, 0.3)
        return replace(yarns, width=width, sway=sway)

    return replace(cloth, warp=cut(cloth.warp, view.u, view.v), weft=cut(cloth.weft, view.v, view.u))


def misweave(cloth: Cloth, variant: int, rng: np.random.Generator) -> Cloth:
    """Cloth with a missing pick, a thick slubby pick or a group of floating warp yarns."""
    j = N_YARNS // 2 + int(rng.integers(-12, 13))
    place = np.arange(N_YARNS * PER_PITCH) / PER_PITCH
    if variant == 0:
        width, sway = cloth.weft.width.copy(), cloth.weft.sway.copy()
        width[j] *= smoothstep(np.abs(place - N_YARNS / 2 - 5), 13.5, 15)
        pull = 0.16 * smoothstep(np.abs(place - N_YARNS / 2 - 5), 16, 10)
        sway[j - 1], sway[j + 1] = sway[j - 1] + pull, sway[j + 1] - pull
        return replace(cloth, weft=replace(cloth.weft, width=width, sway=sway))
    if variant == 1:
        width, tone = cloth.weft.width.copy(), cloth.weft.tone.copy()
        lumps = ndimage.gaussian_filter1d(rng.standard_normal(len(place)), 10)
        width[j] *= 1.55 + 0.18 * lumps / lumps.std()
        tone[j] *= 1.12
        return replace(cloth, weft=replace(cloth.weft, width=width, tone=tone))
    on_top = cloth.warp_on_top.copy()
    for k in range(3):
        on_top[j + k, j - 6 + k : j + 5 + int(rng.integers(0, 5))] = True
    return replace(cloth, warp_on_top=on_top)


def stained(image: Array, rng: np.random.Generator, variant: int) -> Array:
    """Oil or water mark soaked into the yarns: see-through, dark, with a rim where it dried."""
    n = len(image)
    size = (0.115, 0.085, 0.15)[variant % 3] * n
    colour = ((0.34, 0.27, 0.17), (0.16, 0.14, 0.11), (0.62, 0.52, 0.36))[variant % 3]
    field = blob(rng, n, spot(rng, n, 0.25), (size, size * rng.uniform(0.65, 0.9)), 0.26)
    wick = fbm(rng, n, 15, octaves=2)
    field = field + 0.09 * (ndimage.gaussian_filter1d(wick, 9, axis=0) + ndimage.gaussian_filter1d(wick, 9, axis=1))
    soaked = smoothstep(field, -0.10, 0.35) * np.clip(0.82 + 0.12 * fbm(rng, n, size), 0.5, 1)
    rim = np.exp(-(((field - 0.08) / 0.07) ** 2)) * (0.10 if variant != 2 else 0.3)
    return image * (1 - np.clip(soaked + rim, 0, 1)[..., None] * (1 - np.asarray(colour)))


def foreign(image: Array, rng: np.random.Generator, variant: int) -> Array:
    """A coloured thread end, a dark curled hair or a knot with two loose ends."""
    n = len(image)
    centre = spot(rng, n, 0.22)
    grain = fbm(rng, n, 5, octaves=2)
    colour = ((0.40, 0.028, 0.035), (0.012, 0.011, 0.010), (0.60, 0.56, 0.47))[variant % 3]
    if variant % 3 < 2:
        bend, length, radius = ((1.5, 0.46, 0.0046), (2.4, 0.42, 0.0026))[variant % 3]
        path = wander(rng, centre, rng.uniform(0, 2 * np.pi), length * n, bend)
        path = path - path.mean(axis=0) + np.asarray(centre)
        taper = (
            radius * n * smoothstep(np.minimum(np.linspace(0, 1, len(path)), np.linspace(1, 0, len(path))), -0.02, 0.04)
        )
        image = lay_thread(image, path, np.maximum(taper, 0.4), colour, grain, 2.2, (0.22, 0.0)[variant % 3])
        for _ in range((26, 0)[variant % 3]):
            hair = wander(rng, tuple(path[rng.integers(len(path))]), rng.uniform(0, 6.28), rng.uniform(7, 16), 0.8)
            image = lay_thread(image, hair, 0.45, colour, grain, 0.8)
        return image
    for _ in range(2):
        end = wander(rng, centre, rng.uniform(0, 2 * np.pi), 0.10 * n, 0.5)
        image = lay_thread(image, end, 0.0055 * n, colour, grain, lift=2.0)
    for _ in range(14):
        turn = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(3.5, 6), 120)
        size = rng.uniform(0.003, 0.021, 2) * n
        tilt = rng.uniform(0, np.pi)
        x, y = rotated(size[0] * np.cos(turn), size[1] * np.sin(turn), tilt)
        loop = np.stack([x, y], axis=1) + np.asarray(centre) + 0.003 * n * rng.standard_normal(2)
        image = lay_thread(image, loop, 0.0066 * n, colour, grain, 2.0, 0.15)
    return with_fuzz(image, rng, 22, centre, 0.018 * n, 0.6)


def frayed(image: Array, field: Array, rng: np.random.Generator) -> Array:
    """Loose fibres that reach from the edge of a hole into it."""
    n = len(image)
    x, y = grid(n)
    edge = np.argwhere(np.abs(field) < 0.05)
    middle = np.array([x[field > 0].mean(), y[field > 0].mean()])
    grain = fbm(rng, n, 5, octaves=2)
    for row, col in edge[rng.integers(0, len(edge), 16)]:
        start = np.array([x[row, col], y[row, col]])
        inward = np.arctan2(*(middle - start)[::-1]) + rng.normal(0, 0.7)
        path = wander(rng, tuple(start), inward, rng.uniform(0.012, 0.05) * n, 0.7)
        colour = (0.13, 0.18, 0.25) if rng.random() < 0.5 else (0.5, 0.48, 0.42)
        radius = np.linspace(rng.uniform(0.9, 1.9), 0.5, len(path))
        image = lay_thread(image, path, radius, colour, grain, lift=1.0)
    return image


def render(
    scene: np.random.Generator, defect: np.random.Generator, size: int, split: str, kind: str | None, variant: int
) -> tuple[Array, Array]:
    """Noiseless image without and with the defect, each (size, size, 3) in [0, 1]; the same for kind None."""
    n = 2 * size
    cloth, view = weave(scene), look(scene, n)
    gain = scene.normal(1.0, 0.035) * (1 + scene.normal(0, 0.012, 3)) * 1.32
    table, hairs = scene.spawn(2)
    light_seed, hair_seed = int(table.integers(2**32)), int(hairs.integers(2**32))
    tilt = scene.normal(0, 0.05, 2)
    x, y = grid(n)
    slope = (1 + (tilt[0] * x + tilt[1] * y) / n - 0.10 * (x + y) / n)[..., None]

    def finish(piece: Cloth) -> Array:
        return with_fuzz(
            shade(piece, view, np.random.default_rng(light_seed)), np.random.default_rng(hair_seed), 70, strength=0.28
        )

    def photograph(image: Array) -> Array:
        return through_lens(image * slope, size, 0.55, 0.22, gain)

    plain = finish(cloth)
    clean = photograph(plain)
    if kind is None:
        return clean, clean
    if kind == "hole":
        radii = ((0.070, 0.055), (0.135, 0.026), (0.044, 0.036))[variant % 3]
        field = blob(defect, n, spot(defect, n, 0.27), (radii[0] * n, radii[1] * n), 0.13)
        return clean, photograph(frayed(finish(torn(cloth, view, field, defect)), field, defect))
    if kind == "misweave":
        return clean, photograph(finish(misweave(cloth, variant % 3, defect)))
    mark = stained if kind == "stain" else foreign
    return clean, photograph(mark(plain, defect, variant))
