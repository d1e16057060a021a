"""What accelerators can do at most, so that planned and measured speed can be told as a share of it."""

from __future__ import annotations

# Dense bf16 peaks in FLOP/s, from the makers' data sheets, by what the card's name holds; the first that fits.
PEAKS = {
    "B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12,
    "L40S": 362e12, "A10G": 70e12, "RTX 4090": 165e12,
}  # fmt: skip


def peak_flops(card: str) -> float | None:
    """The dense bf16 FLOP/s of a card by its name; None where they are not known."""
    return next((peak for name, peak in PEAKS.items() if name in card), None)
