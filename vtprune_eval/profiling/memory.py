"""Peak memory of one sample."""

from __future__ import annotations

import ctypes

import torch


class PeakMemory:
    """Peak bytes between :meth:`reset` and :meth:`read`.

    On CUDA the allocator's peak (weights included), summed over the GPUs of a model that lies on several. On CPU the
    process's peak resident size, reset through ``/proc/self/clear_refs`` where the kernel allows it; elsewhere the
    peak since the process began. A CPU peak may contain memory that the allocator kept from an earlier sample: handing
    it back before every sample made the next one fault it in again inside the timed stages, a tenth of the time of a
    small model.
    """

    def __init__(self, *devices: torch.device) -> None:
        """``devices``: all that the model computes on."""
        self._cuda = [device for device in devices if device.type == "cuda"]

    def reset(self) -> None:
        """Forget earlier peaks."""
        for device in self._cuda:
            torch.cuda.reset_peak_memory_stats(device)
        if self._cuda:
            return
        try:
            with open("/proc/self/clear_refs", "w") as stream:
                stream.write("5")
        except OSError:
            pass

    def read(self) -> int:
        """Peak bytes since the last reset."""
        if self._cuda:
            return sum(torch.cuda.max_memory_allocated(device) for device in self._cuda)
        try:
            with open("/proc/self/status") as stream:
                for line in stream:
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1]) * 1024
        except OSError:
            pass
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def release_freed() -> None:
    """Hand memory that was freed back to the system (glibc only), so that one cell's peak does not carry another's."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass
