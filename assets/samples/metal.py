"""What handling, rust and a careless drilling programme do to the turned steel flange of `metal_part`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from marks import Array, along, blob, fbm, grid, rotated, smoothstep, through_lens, wander
from metal_part import BOLT, GROOVE, HUB, N_BOLTS, Damage, Pose, bolt_distance, place, shade, unhurt

KINDS = {"scratch": 4, "dent": 3, "rust": 3, "bolt_hole": 2}
NOISE, NOTICEABLE = 0.009, 0.055
CLOSE = {"scratch": 2, "dent": 9, "rust": 3, "bolt_hole": 3}  # px, see marks.changed


def on_face(rng: np.random.Generator, low: float, high: float, pose: Pose, clear: float) -> tuple[float, float]:
    """Place (part coordinates) on the face between two radii, at least clear away from the bolt holes."""
    while True:
        r, a = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
        x, y = r * np.cos(a), r * np.sin(a)
        if bolt_distance(np.array([x]), np.array([y]), np.zeros(N_BOLTS, bool))[0] > BOLT + clear:
            return float(x), float(y)


def to_px(pose: Pose, spot: tuple[float, float]) -> tuple[float, float]:
    """Image coordinates (px from the middle) of a place on the part."""
    row, col = np.unravel_index(np.argmin((pose.x - spot[0]) ** 2 + (pose.y - spot[1]) ** 2), pose.x.shape)
    middle = (len(pose.x) - 1) / 2
    return float(col - middle), float(row - middle)


def scratch_line(rng: np.random.Generator, pose: Pose, length: float) -> Array:
    """Line (p, 2) in px on the flat face, across the light and across the tool marks, so that it can be seen."""
    n = len(pose.x)
    while True:
        spot = on_face(rng, 0.54, 0.74, pose, 0.0)
        heading = np.deg2rad(rng.uniform(-85, -5))
        marks = np.arctan2(spot[1], spot[0]) + pose.turn + np.pi / 2
        path = wander(rng, (0, 0), heading, length * n, 0.07)
        path += np.array(to_px(pose, spot)) - path.mean(axis=0)
        row, col = np.clip(path + n / 2, 0, n - 1).astype(int).T[::-1]
        x, y = pose.x[row, col], pose.y[row, col]
        r, bolt = np.hypot(x, y), bolt_distance(x, y, np.zeros(N_BOLTS, bool))
        crossing = abs(np.sin(heading - marks))
        if r.min() > HUB + 0.03 and r.max() < GROOVE - 0.025 and bolt.min() > BOLT + 0.02 and crossing > 0.3:
            return path


def scratched(damage: Damage, pose: Pose, rng: np.random.Generator, variant: int) -> Damage:
    """A groove with a raised burr on both sides that crosses the tool marks; the second one is a pair."""
    n = len(pose.x)
    length, strength = ((0.28, 1.45), (0.19, 1.0), (0.28, 0.75), (0.22, 1.1))[variant % 4]
    lines = [scratch_line(rng, pose, length)]
    if variant % 4 == 1:
        line = lines[0]
        step = line[-1] - line[0]
        aside = 0.020 * n * np.array([-step[1], step[0]]) / np.hypot(*step)
        lines.append(line[int(0.25 * len(line)) : int(0.85 * len(line))] + aside)
    height, raw = damage.relief, damage.raw
    for path in lines:
        distance, position = along(path, n, 16)
        pressure = smoothstep(position, 0, 0.10) * smoothstep(position, 1, 0.65)
        pressure = strength * pressure * np.clip(1 + 0.20 * fbm(rng, n, 24, octaves=4), 0.4, 1.5)
        width = 2.0 * (0.70 + 0.40 * pressure)
        groove = np.exp(-((distance / width) ** 2))
        burr = np.exp(-(((np.abs(distance) - 1.7 * width) / (0.6 * width)) ** 2))
        height = height + pressure * (0.55 * burr - 2.1 * groove) * 2.0 / n
        raw = np.maximum(raw, np.clip(1.3 * pressure, 0, 1) * smoothstep(np.abs(distance), 1.9 * width, 1.0 * width))
    return replace(damage, relief=height, raw=raw)


def dented(damage: Damage, pose: Pose, rng: np.random.Generator, variant: int) -> Damage:
    """A smooth hollow with a low rim of pushed-up metal."""
    n = len(pose.x)
    size, depth = ((0.075, 0.018), (0.060, 0.018), (0.100, 0.022))[variant % 3]
    centre = to_px(pose, on_face(rng, 0.59, 0.70, pose, size))
    x, y = grid(n)
    u, v = rotated(x - centre[0], y - centre[1], rng.uniform(0, np.pi))
    lumps = 1 + 0.05 * fbm(rng, n, 0.07 * n, octaves=2)
    r = np.hypot(u, v * rng.uniform(1.1, 1.5)) / (size * n / 2) * lumps
    hollow = -depth * np.exp(-1.6 * r**2) + 0.10 * depth * np.exp(-(((r - 1.35) / 0.45) ** 2))
    return replace(damage, relief=damage.relief + hollow, raw=np.maximum(damage.raw, 0.3 * smoothstep(r, 1.0, 0.2)))


def rusted(damage: Damage, pose: Pose, rng: np.random.Generator, variant: int) -> Damage:
    """Brown bloom of several merging spots, darker and pitted where it is thick, with a faint yellow halo."""
    n = len(pose.x)
    size, count = ((0.075, 5), (0.045, 3), (0.055, 9))[variant % 3]
    middle = np.array(to_px(pose, on_face(rng, 0.55, 0.76, pose, 0.0)))
    field = np.full((n, n), -3.0)
    for k in range(count):
        spread = rng.standard_normal(2) * size * n * (0.0 if k == 0 else 0.55)
        radius = size * n / 2 * (1.25 if k == 0 else rng.uniform(0.3, 0.8))
        field = np.maximum(field, blob(rng, n, tuple(middle + spread), (radius, radius * rng.uniform(0.6, 1)), 0.30))
    thick = fbm(rng, n, 0.03 * n, octaves=5, gain=0.7)
    field = field + 0.16 * fbm(rng, n, 14, octaves=3, gain=0.8)
    cover = smoothstep(field + 0.12 * thick, 0.0, 0.40) * np.clip(0.86 + 0.16 * thick, 0.3, 1)
    mix = smoothstep(thick + 1.2 * field, -0.6, 1.6)[..., None]
    colour = (1 - mix) * np.array([0.25, 0.098, 0.030]) + mix * np.array([0.075, 0.029, 0.013])
    crust = (0.0007 * thick - 0.0003) * smoothstep(field, 0, 0.3)
    return replace(
        damage,
        stain=cover,
        bloom=smoothstep(field + 0.10 * thick, -0.9, 0.25),
        stain_colour=colour * (1 + 0.22 * fbm(rng, n, 6, gain=0.8)[..., None]),
        relief=damage.relief + crust,
        raw=np.maximum(damage.raw, smoothstep(cover, 0.5, 0.9)),
    )


def misdrilled(damage: Damage, pose: Pose, rng: np.random.Generator, variant: int) -> Damage:
    """A bolt hole that was never drilled, or one plugged with swarf and grease."""
    hole = int(rng.integers(N_BOLTS))
    if variant % 2 == 0:
        return replace(damage, no_hole=np.arange(N_BOLTS) == hole)
    others = np.arange(N_BOLTS) != hole
    n = len(pose.x)
    inside = BOLT - bolt_distance(pose.x, pose.y, others)
    return replace(damage, plug=smoothstep(inside + 0.006 * fbm(rng, n, 16), 0.002, 0.012))


def render(
    scene: np.random.Generator, defect: np.random.Generator, size: int, split: str, kind: str | None, variant: int
) -> tuple[Array, Array]:
    """Noiseless image without and with the defect, each (size, size, 3) in [0, 1]; the same for kind None."""
    n = 2 * size
    pose = place(scene, n)
    gain = scene.normal(1.0, 0.03) * (1 + scene.normal(0, 0.008, 3)) * 1.12
    seed = int(scene.integers(2**32))

    def photograph(damage: Damage) -> Array:
        return through_lens(shade(pose, damage, np.random.default_rng(seed)), size, 0.45, 0.18, gain)

    clean = photograph(unhurt(n))
    if kind is None:
        return clean, clean
    hurt = {"scratch": scratched, "dent": dented, "rust": rusted, "bolt_hole": misdrilled}[kind]
    return clean, photograph(hurt(unhurt(n), pose, defect, variant))
