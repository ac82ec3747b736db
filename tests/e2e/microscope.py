"""What the microscope's tests look for on its page: the focus, texts that are cut, texts that are faint."""

from playwright.sync_api import Page


def tab_to(page: Page, name: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("name => document.activeElement.classList.contains(name)", name):
            return
    raise AssertionError(f"Tab does not reach {name}")


CLIPPED = """() => [...document.querySelectorAll('.microscope *')]
    .filter((one) => one.children.length === 0 && one.textContent.trim() && one.offsetParent
        && !one.closest('.ms-said') && one.scrollWidth > one.clientWidth + 1
        && getComputedStyle(one).display !== 'inline')
    .map((one) => `${one.className}: ${one.textContent}`)"""
"""Texts that are wider than their boxes."""

FAINT = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (rgb) => {
        const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = rgb.slice(0, 3).map((v) => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const colour = rgba(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const hasText = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    return [...document.querySelectorAll('.microscope *')]
        .filter((one) => hasText(one) && one.offsetParent)
        .map((one) => {
            const [text, under] = [rgba(getComputedStyle(one).color), ground(one)].map(luminance);
            const contrast = (Math.max(text, under) + 0.05) / (Math.min(text, under) + 0.05);
            return [contrast, `${one.className}: ${one.textContent}`];
        })
        .filter(([contrast]) => contrast < 4.5);
}"""
"""Texts whose contrast with their ground is below 4.5."""
