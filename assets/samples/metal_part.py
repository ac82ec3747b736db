"""A turned steel flange on a rubber mat, rendered from its height field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from marks import Array, dot, fbm, grid, over, rotated, smoothstep
from numpy.typing import NDArray
from scipy import ndimage

# The part, in units of half the image's side.
OUTER, HUB, BORE, CIRCLE, BOLT, GROOVE = 0.86, 0.47, 0.265, 0.665, 0.078, 0.80
CHAMFER, HUB_RISE, N_BOLTS = 0.018, 0.035, 6
THROUGH = 0.93  # the far edge of a hole, seen by a camera at a finite distance, is this much smaller
STEEL = np.array([0.80, 0.795, 0.78])


@dataclass(frozen=True)
class Pose:
    """One placing of the part under the camera and the lamps."""

    x: Array  # (n, n) part coordinates, half sides
    y: Array
    turn: float  # radians
    key: Array  # (3,) place of the main lamp, half sides
    fill: Array  # (3,) place of the second lamp
    strength: tuple[float, float]


@dataclass(frozen=True)
class Damage:
    """What a defect does to a part; the neutral element is `unhurt`."""

    relief: Array  # (n, n) added height, half sides
    raw: Array  # (n, n) how far the turned finish is lost, 0 to 1
    stain: Array  # (n, n) cover of stain_colour, 0 to 1
    stain_colour: Array  # (n, n, 3) linear albedo
    bloom: Array  # (n, n) thin see-through rust, 0 to 1
    no_hole: NDArray[np.bool_]  # (N_BOLTS,) bolt holes never drilled
    plug: Array  # (n, n) cover of the debris in a bolt hole, 0 to 1


def unhurt(n: int) -> Damage:
    """No damage."""
    zero = np.zeros((n, n))
    return Damage(zero, zero, zero, np.zeros((n, n, 3)), zero, np.zeros(N_BOLTS, bool), zero)


def place(rng: np.random.Generator, n: int) -> Pose:
    """The part set down a few degrees and px from where it was last, the lamps nearly unmoved."""
    x, y = grid(n)
    shift = rng.uniform(-0.022, 0.022, 2)
    turn = np.deg2rad(rng.uniform(-4, 4))
    u, v = rotated(x / (n / 2) - shift[0], y / (n / 2) - shift[1], turn)
    key = np.array([-1.5, -2.1, 2.6]) + rng.normal(0, 0.10, 3)
    fill = np.array([2.4, 0.7, 2.2]) + rng.normal(0, 0.10, 3)
    return Pose(u, v, turn, key, fill, (rng.normal(1, 0.04), rng.normal(1, 0.06)))


def bolt_distance(x: Array, y: Array, missing: NDArray[np.bool_]) -> Array:
    """Distance (n, n) to the nearest bolt hole's axis among those drilled."""
    nearest = np.full(x.shape, 9.0)
    for k in np.flatnonzero(~missing):
        a = 2 * np.pi * k / N_BOLTS + np.pi / 6
        nearest = np.minimum(nearest, np.hypot(x - CIRCLE * np.cos(a), y - CIRCLE * np.sin(a)))
    return nearest


def solid(x: Array, y: Array, missing: NDArray[np.bool_], px: float) -> Array:
    """Cover (n, n) of the part's silhouette, 1 on metal; px is the width of the soft edge."""
    r = np.hypot(x, y)
    inside = np.minimum(np.minimum(OUTER - r, r - BORE), bolt_distance(x, y, missing) - BOLT)
    return smoothstep(inside, -px, px)


def relief(x: Array, y: Array, missing: NDArray[np.bool_]) -> Array:
    """Height (n, n) of the machined face: hub, chamfers and a turned groove near the rim."""
    r, bolt = np.hypot(x, y), bolt_distance(x, y, missing)
    height = HUB_RISE * smoothstep(r, HUB + CHAMFER, HUB - CHAMFER)
    height -= 0.012 * np.exp(-(((r - GROOVE) / 0.006) ** 2))
    for edge, size in ((OUTER - r, 1.3 * CHAMFER), (r - BORE, 1.2 * CHAMFER), (bolt - BOLT, 0.8 * CHAMFER)):
        height -= np.clip(size - edge, 0, size)
    return height


def polar_noise(rng: np.random.Generator, x: Array, y: Array, ring: float, sector: float) -> Array:
    """Streaks that run around the axis: (n, n), fine along r (ring, half sides), long along the angle (sector, rad)."""
    n_r, n_a = int(1.3 / ring), 720
    table = ndimage.gaussian_filter(
        rng.standard_normal((n_r, n_a)), (0.6, n_a * sector / 2 / np.pi), mode=("nearest", "wrap")
    )
    row, col = np.hypot(x, y) / ring, np.arctan2(y, x) % (2 * np.pi) / (2 * np.pi) * n_a
    streaks = ndimage.map_coordinates(table / table.std(), [row, col], order=1, mode="grid-wrap")
    return streaks


def gleam(normal: Array, tangent: Array, to_lamp: Array, view: Array, rough: tuple[Array, Array]) -> Array:
    """Anisotropic highlight (n, n) after Ward.

    Args:
        normal: (n, n, 3) neuron surface normals.
        tangent: (n, n, 3) neuron direction of the tool marks.
        to_lamp: (n, n, 3) neuron directions to the lamp.
        view: (n, n, 3) neuron directions to the camera.
        rough: Roughness along and across the marks, each (n, n).
    """
    half = to_lamp + view
    half /= np.linalg.norm(half, axis=2, keepdims=True)
    along_mark = tangent - normal * dot(tangent, normal)[..., None]
    along_mark /= np.linalg.norm(along_mark, axis=2, keepdims=True)
    across = np.text_part(normal, along_mark)
    up = np.clip(dot(half, normal), 0.05, None)
    slope = (dot(half, along_mark) / rough[0]) ** 2 + (dot(half, across) / rough[1]) ** 2
    facing = np.clip(dot(to_lamp, normal), 0, None)
    return np.exp(-slope / up**2) * np.sqrt(facing)


def surroundings(normal: Array, view: Array) -> Array:
    """What the metal mirrors (n, n): a bright ceiling, a lighter upper left, a dark bench."""
    mirrored = 2 * dot(normal, view)[..., None] * normal - view
    side = mirrored[..., 0] * -0.55 + mirrored[..., 1] * -0.75
    return (
        0.20
        + 0.16 * smoothstep(mirrored[..., 2], 0.2, 1.0)
        + 0.34 * smoothstep(side, 0.05, 0.75)
        - 0.15 * smoothstep(-side, 0.1, 0.8)
    )


def bench(rng: np.random.Generator, n: int, pose: Pose, cover: Array) -> Array:
    """Dark rubber mat (n, n, 3) with the part's shadow on it, also at the bottom of the holes."""
    grain = ndimage.gaussian_filter(rng.standard_normal((n, n)), 0.9)
    mat = 0.040 * (1 + 0.5 * grain + 0.10 * fbm(rng, n, n / 5))
    specks = ndimage.gaussian_filter((rng.random((n, n)) > 0.9997).astype(float), 1.1)
    mat = mat + 0.35 * specks
    falloff = 1 - 0.16 * (pose.x + pose.y)
    contact = ndimage.gaussian_filter(cover, 0.012 * n)
    thrown = ndimage.gaussian_filter(ndimage.shift(cover, (0.042 * n, 0.030 * n), order=1), 0.012 * n)
    shade = (1 - 0.55 * thrown) * (1 - 0.55 * contact)
    return (mat * falloff * shade)[..., None] * np.array([0.93, 0.98, 1.06])


def shade(pose: Pose, damage: Damage, rng: np.random.Generator) -> Array:
    """Linear light (n, n, 3) of the part on the bench."""
    n = len(pose.x)
    px = 2.0 / n
    x, y = pose.x, pose.y
    cover = solid(x, y, damage.no_hole, px)
    wobble = fbm(rng, n, n / 3, octaves=3)
    height = (
        relief(x, y, damage.no_hole)
        + damage.relief
        + 0.00035 * wobble
        + 0.0002 * damage.raw * fbm(rng, n, 7, octaves=2)
    )
    gy, gx = np.gradient(ndimage.gaussian_filter(height, 0.8) / px)
    fine, coarse = polar_noise(rng, x, y, 2.2 * px, 0.20), polar_noise(rng, x, y, 7 * px, 0.9)
    r = np.hypot(x, y) + 1e-6
    keep = 1 - damage.raw
    tilt = (0.030 * fine + 0.022 * coarse) * keep
    radial = rotated(x / r, y / r, -pose.turn)
    gx, gy = gx + tilt * radial[0], gy + tilt * radial[1]
    normal = np.stack([-gx, -gy, np.ones_like(gx)], axis=2) / np.sqrt(1 + gx**2 + gy**2)[..., None]
    tangent = np.stack([-radial[1], radial[0], np.zeros_like(r)], axis=2)
    at = np.stack([*grid(n), np.zeros((n, n))], axis=2) * np.array([px, px, 1])
    view = np.array([0, 0, 5.0]) - at
    view /= np.linalg.norm(view, axis=2, keepdims=True)
    rough = (0.17 * keep + 0.33 * damage.raw, 0.62 * keep + 0.33 * damage.raw)
    light = surroundings(normal, view) * 0.62
    for lamp, strength, power in ((pose.key, pose.strength[0], 0.62), (pose.fill, pose.strength[1], 0.26)):
        to_lamp = lamp - at
        distance = np.linalg.norm(to_lamp, axis=2, keepdims=True)
        near = (np.linalg.norm(lamp) / distance[..., 0]) ** 2
        light = light + power * strength * near * gleam(normal, tangent, to_lamp / distance, view, rough)
    smudge = np.clip(fbm(rng, n, n / 4, octaves=5), -1, 2.5)
    light = light * (1 + 0.045 * fine * keep + 0.035 * coarse * keep + 0.02 * smudge)
    light = light * np.exp(-14 * np.clip(ndimage.gaussian_filter(height, 0.008 * n) - height, 0, None))
    metal = STEEL * light[..., None]
    rusty = (
        damage.stain_colour * (0.30 + 0.9 * np.clip(dot(normal, np.array([-0.42, -0.55, 0.72])), 0, None))[..., None]
    )
    metal = metal * (1 - 0.75 * damage.bloom[..., None] * (1 - np.array([0.80, 0.58, 0.36])))
    metal = over(metal, rusty, damage.stain)

    far = np.hypot(x, y), 1 / THROUGH
    see_through = solid(x * far[1], y * far[1], damage.no_hole, px)
    wall = (1 - cover) * see_through * smoothstep(far[0], OUTER, OUTER - 2 * px)
    bolt_here = far[0] > HUB
    a = np.arctan2(y, x)
    nearest = np.round((a - np.pi / 6) / (np.pi / 3)) * np.pi / 3 + np.pi / 6
    cx, cy = np.where(bolt_here, CIRCLE * np.cos(nearest), 0), np.where(bolt_here, CIRCLE * np.sin(nearest), 0)
    facing = ((cx - x) * -0.58 + (cy - y) * -0.81) / (np.hypot(cx - x, cy - y) + 1e-6)
    wall_light = STEEL * (0.055 + 0.16 * np.clip(facing, 0, 1) ** 1.5)[..., None] * (1 + 0.10 * fine)[..., None]
    image = over(bench(rng, n, pose, cover), wall_light, wall)
    lumps = fbm(rng, n, 9, octaves=3)
    gy, gx = np.gradient(lumps)
    debris = np.array([0.060, 0.052, 0.043]) * np.clip(1 + 0.35 * lumps - 1.5 * (gx + gy), 0.15, 3)[..., None]
    image = over(image, debris, damage.plug)
    return over(image, metal, cover)
