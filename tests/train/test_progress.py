"""The line that is shown while training: its figures worked out by hand."""

from types import SimpleNamespace

import pytest
import torch

from palimpsest.model.devices import peak_flops
from palimpsest.train.data import Batches
from palimpsest.train.progress import Progress


def progress(mer, device, count, start=10):
    asked, inputs = mer
    batches = Batches(asked, inputs.tokens, inputs.pool)  # 40 steps of 4 sequences of 16 tokens
    return Progress(start, batches, 3_000_000, SimpleNamespace(device=torch.device(device), count=count))


def test_without_a_known_card_no_utilisation_is_shown(mer):
    line = progress(mer, "cpu", 1).line(30, 2.5, 4.0)
    assert line == "step 30/40  loss 2.500  320 tokens/s  2 s left"


def test_utilisation_is_of_the_peak_of_all_cards(mer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H100 80GB HBM3")
    # 20 steps in 10 µs: 1.28e8 tokens/s · 3e6 FLOPs = 3.84e14 of 2 · 9.89e14.
    assert "  19.4% MFU  " in progress(mer, "cuda", 2).line(30, 2.5, 1e-5)


@pytest.mark.parametrize(
    ("card", "peak"),
    [("NVIDIA H200", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("Tesla T4", None)],
)
def test_peaks_are_found_by_the_name_of_the_card(card, peak):
    assert peak_flops(card) == peak
