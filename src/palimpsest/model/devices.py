"""The device that a process computes on, and the peak FLOP/s of accelerators.

torch is imported only where a device is chosen: the planner reads the table of peaks without it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Dense bf16 peaks in FLOP/s, from the vendors' data sheets, by a part of the device's name; the first match counts.
PEAK_FLOPS = {
    "B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12,
    "L40S": 362e12, "A10G": 70e12, "RTX 4090": 165e12,
}  # fmt: skip

# Lock files stay open as long as this process lives, so that its claim ends with it, however it ends.
_claims: list[IO[bytes]] = []


def peak_flops(device_name: str) -> float | None:
    """The dense bf16 peak of a GPU in FLOP/s, by its name; None if it is unknown."""
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device_name), None)


def configure_torch(threads: int) -> None:
    """Use ``threads`` threads and deterministic algorithms only."""
    import torch

    torch.set_num_threads(threads)
    # As use_deterministic_algorithms(True), which also imports torch's compiler, a second of CPU, to set it up alike.
    torch.set_deterministic_debug_mode("error")


def best_device() -> torch.device:
    """A GPU that no other process of this user has claimed, the first GPU if all are claimed, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", claim_gpu(torch.cuda.device_count()) or 0)
    torch.cuda.set_device(device)
    return device


def claim_gpu(count: int) -> int | None:
    """Claim one of the ``count`` visible GPUs for the life of this process; None if all are claimed.

    Snakemake counts GPUs (``--resources gpu=8``) but assigns none, so each process claims the first free one.
    """
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    for index in range(count):
        name = visible[index] if index < len(visible) else str(index)
        path = Path(tempfile.gettempdir(), f"palimpsest-{os.getuid()}-gpu-{name.replace('/', '-')}")
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _claims.append(file)
        return index
    return None
