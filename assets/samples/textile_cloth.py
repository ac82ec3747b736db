"""Twill cloth, woven and rendered yarn by yarn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from marks import Array, dot, fbm, grid, over, rotated, smoothstep
from numpy.typing import NDArray
from scipy import ndimage

N_YARNS = 92
PER_PITCH = 8  # samples along a yarn between two crossings
WARP_COLOUR, WEFT_COLOUR = np.array([0.105, 0.155, 0.225]), np.array([0.46, 0.44, 0.385])


@dataclass(frozen=True)
class Yarns:
    """All parallel yarns of one direction; rows are yarns, columns positions along them (PER_PITCH per pitch)."""

    width: Array  # (N_YARNS, N_YARNS * PER_PITCH) half width in pitches; 0 where there is no yarn
    sway: Array  # same shape, sideways shift in pitches
    tone: Array  # same shape, brightness factor
    tint: Array  # (N_YARNS, 3) colour factor
    fibre: Array  # (512, 512) texture of mean 0, wraps around


@dataclass(frozen=True)
class Cloth:
    """A piece of cloth: both directions of yarn and which is on top where they cross."""

    warp: Yarns
    weft: Yarns
    warp_on_top: NDArray[np.bool_]  # (N_YARNS, N_YARNS): warp i over weft j


@dataclass(frozen=True)
class View:
    """Where the camera and the light are."""

    u: Array  # (n, n) position across the warp, pitches
    v: Array  # (n, n) position across the weft, pitches
    pitch: float  # px
    light: Array  # (3,) unit vector


def spin(rng: np.random.Generator, thickness: float, spread: float) -> Yarns:
    """Yarns with thick and thin places, sway and shade of their own."""
    shape = (N_YARNS, N_YARNS * PER_PITCH)

    def slow(length: float) -> Array:
        wave = ndimage.gaussian_filter1d(rng.standard_normal(shape), length * PER_PITCH, axis=1, mode="wrap")
        return wave / wave.std()

    own = rng.standard_normal((N_YARNS, 1))
    width = thickness * np.clip(1 + 0.05 * own + 0.07 * slow(0.9) + 0.05 * slow(5), 0.7, 1.4)
    tone = np.exp(spread * rng.standard_normal((N_YARNS, 1)) + 0.5 * spread * slow(6) + 0.3 * spread * slow(0.6))
    tint = 1 + 0.008 * rng.standard_normal((N_YARNS, 3))
    fibre = ndimage.gaussian_filter(rng.standard_normal((512, 512)), (0.8, 7.0), mode="wrap")
    fibre = fibre / fibre.std() + 0.5 * ndimage.gaussian_filter(rng.standard_normal((512, 512)), 1.0, mode="wrap") * 3
    return Yarns(width, 0.05 * slow(3) + 0.035 * rng.standard_normal((N_YARNS, 1)), tone, tint, fibre / fibre.std())


def weave(rng: np.random.Generator) -> Cloth:
    """A fresh piece of 2/2 twill."""
    i, j = np.mgrid[:N_YARNS, :N_YARNS]
    return Cloth(spin(rng, 0.50, 0.09), spin(rng, 0.47, 0.06), (i - j) % 4 < 2)


def look(rng: np.random.Generator, n: int) -> View:
    """A camera pose a few degrees and a few px from the last one, and a light from the upper left."""
    pitch = n / 52 * rng.uniform(0.985, 1.015)
    x, y = rotated(*grid(n), np.deg2rad(rng.uniform(-3.0, 3.0)))
    bend = [0.16 * fbm(rng, n, n / 2.2, octaves=2) for _ in range(2)]
    start = N_YARNS / 2 + rng.uniform(-4, 4, 2)
    azimuth, height = np.deg2rad(rng.normal(222, 5)), np.deg2rad(rng.normal(48, 2))
    light = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    return View(x / pitch + start[0] + bend[0], y / pitch + start[1] + bend[1], pitch, light)


def surface(yarns: Yarns, on_top: NDArray[np.bool_], across: Array, run: Array) -> tuple[Array, Array]:
    """Height and brightness-with-colour of the yarns of one direction.

    Args:
        yarns: The yarns.
        on_top: (N_YARNS, N_YARNS) whether yarn i passes over crossing yarn j.
        across: (n, n) position across the yarns, pitches.
        run: (n, n) position along them, pitches.
    Returns:
        height (n, n) in pitches, -2 where there is no yarn, and factor (n, n, 3) on the yarn colour.
    """
    height, factor = np.full(across.shape, -2.0), np.ones((*across.shape, 3))
    sample = np.clip((run * PER_PITCH).astype(int), 0, yarns.width.shape[1] - 1)
    cell = np.clip(np.floor(run - 0.5).astype(int), 0, N_YARNS - 2)
    ease = smoothstep(run - 0.5 - cell, -0.05, 1.05)
    for step in (-1, 0, 1):
        i = np.clip(np.floor(across).astype(int) + step, 0, N_YARNS - 1)
        width = yarns.width[i, sample]
        s = (across - i - 0.5 - yarns.sway[i, sample]) / np.maximum(width, 1e-6)
        lift = np.where(on_top[i, cell], 1.0, -1.0) * (1 - ease) + np.where(on_top[i, cell + 1], 1.0, -1.0) * ease
        texture = yarns.fibre[(s * 14 + run * 9 + 61 * i).astype(int) % 512, (run * 30 + 97 * i).astype(int) % 512]
        z = 0.30 * lift + 0.9 * width * np.sqrt(np.clip(1 - s**2, 0, 1)) + 0.012 * texture
        higher = (np.abs(s) < 1) & (width > 0.02) & (z > height)
        height = np.where(higher, z, height)
        look_up = (yarns.tone[i, sample] * (1 + 0.16 * texture))[..., None] * yarns.tint[i]
        factor = np.where(higher[..., None], look_up, factor)
    return height, factor


def shade(cloth: Cloth, view: View, rng: np.random.Generator) -> Array:
    """Linear light (n, n, 3) of the cloth seen in a view."""
    n = len(view.u)
    warp_z, warp_f = surface(cloth.warp, cloth.warp_on_top, view.u, view.v)
    weft_z, weft_f = surface(cloth.weft, ~cloth.warp_on_top.T, view.v, view.u)
    warp_first = (warp_z >= weft_z)[..., None]
    albedo = np.where(warp_first, WARP_COLOUR * warp_f, WEFT_COLOUR * weft_f)
    z = np.maximum(warp_z, weft_z)
    empty = smoothstep(z, -0.9, -1.3)
    z = ndimage.gaussian_filter(np.maximum(z, -1.1), 0.7)
    gy, gx = np.gradient(z * view.pitch * 0.75)
    normal = np.stack([-gx, -gy, np.ones_like(z)], axis=2) / np.sqrt(1 + gx**2 + gy**2)[..., None]
    lambert = np.clip((dot(normal, view.light) + 0.25) / 1.25, 0, None)
    half = view.light + np.array([0, 0, 1.0])
    sheen = 0.05 * np.clip(dot(normal, half / np.linalg.norm(half)), 0, 1) ** 14
    buried = sum(
        w * np.clip(ndimage.gaussian_filter(z, s * view.pitch) - z, 0, None) for w, s in ((1.6, 0.25), (1.2, 0.8))
    )
    open_sky = np.exp(-buried)
    clouds = 1 + 0.035 * fbm(rng, n, n / 1.5, octaves=3)
    light = ((0.28 + 1.0 * lambert) * open_sky * clouds)[..., None]
    cloth_light = albedo * light + (sheen * open_sky)[..., None]
    covered = ndimage.gaussian_filter(ndimage.shift(1 - empty, (9, 8), order=1, mode="nearest"), 7)
    below = np.array([0.022, 0.020, 0.018]) * (1 + 0.12 * fbm(rng, n, 9)[..., None]) * (1 - 0.85 * covered[..., None])
    return over(cloth_light, below, empty)
