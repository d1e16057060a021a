"""The speed and utilisation that are shown while training: figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.training import TRAIN

from palimpsest.model.devices import peak_flops
from palimpsest.train.throughput import Throughput


def throughput(device: str, processes: int) -> Throughput:
    """64 tokens a step."""
    return Throughput.of(replace(TRAIN, processes=processes), 3_000_000, torch.device(device))


def test_without_a_known_gpu_no_utilisation_is_shown() -> None:
    assert throughput("cpu", 1).text(5.0) == "320 tokens/s"


def test_utilisation_is_of_the_peak_of_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H100 80GB HBM3")
    # 2e6 steps/s are 1.28e8 tokens/s; times 3e6 FLOPs, 3.84e14 of 2 · 9.89e14.
    assert throughput("cuda", 2).text(2e6) == "128,000,000 tokens/s, 19.4% MFU"


@pytest.mark.parametrize(
    ("gpu", "peak"),
    [("NVIDIA H200", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("Tesla T4", None)],
)
def test_peaks_are_found_by_the_name_of_the_gpu(gpu: str, peak: float | None) -> None:
    assert peak_flops(gpu) == peak
