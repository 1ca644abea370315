"""Energy and state of the GPU through NVML (module ``pynvml`` of the package ``nvidia-ml-py``).

Without a GPU, or without the module, :class:`NoGpu` stands in: every reading is None and the reason is kept for the
report. A GPU that is lost in the middle of a run turns every later reading into None and adds a warning; nothing that
was measured before is lost.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

PROFILES = ("full", "light", "off")
SAMPLE_SECONDS = 0.02  # period of the power samples where the GPU has no energy counter
# Reasons that make a GPU slower than it could be. Idle clocks and clocks that a user set are no throttling.
THROTTLING = {
    "SwPowerCap": "software power cap",
    "HwSlowdown": "hardware slowdown",
    "HwThermalSlowdown": "hardware thermal slowdown",
    "SwThermalSlowdown": "software thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
}


class GpuState(TypedDict, total=False):
    """State of a GPU, as ``environment.json`` holds it; null where it cannot be read.

    Attributes:
        name: of the device; of all devices of a run on several machines.
        driver: version.
        sm_mhz: clock of the multiprocessors.
        sm_max_mhz: the highest that it can have.
        memory_mhz: clock of the memory.
        power_limit_w: enforced limit.
        temperature_c: of the chip.
        throttling: why the clock is held down now.
        n_other_processes: on this GPU.
        energy_source: counter or integrated power.
        reason: why there is no GPU to read.
        warnings: what disturbed the run.
    """

    name: str | None
    driver: str | None
    sm_mhz: int | None
    sm_max_mhz: int | None
    memory_mhz: int | None
    power_limit_w: float | None
    temperature_c: int | None
    throttling: list[str]
    n_other_processes: int | None
    energy_source: str | None
    reason: str
    warnings: list[str]


class Gpu(Protocol):
    """What a run reads of its GPU."""

    reason: str

    def start(self) -> None:
        """Begin a window of energy."""

    def stop(self) -> float | None:
        """Joules since :meth:`start`, None where nothing can be read."""

    def process_bytes(self) -> int | None:
        """GPU memory that this process holds now (context included), None where it cannot be told."""

    def state(self) -> GpuState | None:
        """Name, driver, clocks and what disturbs a measurement; None without a GPU."""

    def close(self) -> None:
        """Give NVML back."""


@dataclass
class NoGpu:
    """The stand-in where there is nothing to read; ``reason`` says why."""

    reason: str

    def start(self) -> None:
        """Nothing to begin."""

    def stop(self) -> float | None:
        """None."""
        return None

    def process_bytes(self) -> int | None:
        """None."""
        return None

    def state(self) -> GpuState | None:
        """None."""
        return None

    def close(self) -> None:
        """Nothing to give back."""


@dataclass
class NvmlGpu:
    """One GPU behind NVML.

    Energy is the difference of the GPU's own counter (Volta and later; it moves in steps of some tens of
    milliseconds, so that single short samples are coarse and their mean is not), else sampled power times time.

    Attributes:
        nvml: the module ``pynvml``, or a stand-in with the same functions.
        handle: of the GPU.
        reason: empty, or why nothing can be read any more.
        energy_source: ``counter`` or ``sampled power``.
        warnings: what makes the measurement doubtful, one sentence each, seen so far.
    """

    nvml: Any
    handle: Any
    reason: str = ""
    energy_source: str = "counter"
    warnings: list[str] = field(default_factory=list)
    _before_mj: int | None = None
    _sampler: _PowerSampler | None = None

    def __post_init__(self) -> None:
        try:
            self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)
        except (self.nvml.NVMLError, UnicodeError):
            self.energy_source = "sampled power"

    def start(self) -> None:
        """Begin a window of energy; the device must be synchronised."""
        if self.energy_source == "counter":
            self._before_mj = self._read(self.nvml.nvmlDeviceGetTotalEnergyConsumption, self.handle)
        else:
            self._sampler = _PowerSampler(lambda: self._read(self.nvml.nvmlDeviceGetPowerUsage, self.handle))

    def stop(self) -> float | None:
        """Joules since :meth:`start`; None if the GPU was lost or its driver was reloaded in between.

        Throttling is looked up here, too: it shows under load, and is gone before a run ends.
        """
        self._throttling()
        if self.energy_source == "counter":
            after = self._read(self.nvml.nvmlDeviceGetTotalEnergyConsumption, self.handle)
            before, self._before_mj = self._before_mj, None
            return None if before is None or after is None or after < before else (after - before) / 1000
        sampler, self._sampler = self._sampler, None
        return sampler.stop() if sampler else None

    def process_bytes(self) -> int | None:
        """GPU memory of this process; None in a container whose process ids NVML does not see."""
        for process in self._processes() or ():
            if process.pid == os.getpid():
                used: int | None = process.usedGpuMemory
                return used
        return None

    def state(self) -> GpuState | None:
        """State now."""
        n, h = self.nvml, self.handle
        throttling = self._throttling()
        others = self._other_processes()
        if others:
            self._warn("other processes on the GPU")
        limit = self._read(n.nvmlDeviceGetEnforcedPowerLimit, h)
        return {
            "name": _text(self._read(n.nvmlDeviceGetName, h)),
            "driver": _text(self._read(n.nvmlSystemGetDriverVersion)),
            "sm_mhz": self._read(n.nvmlDeviceGetClockInfo, h, n.NVML_CLOCK_SM),
            "sm_max_mhz": self._read(n.nvmlDeviceGetMaxClockInfo, h, n.NVML_CLOCK_SM),
            "memory_mhz": self._read(n.nvmlDeviceGetClockInfo, h, n.NVML_CLOCK_MEM),
            "power_limit_w": None if limit is None else limit / 1000,
            "temperature_c": self._read(n.nvmlDeviceGetTemperature, h, n.NVML_TEMPERATURE_GPU),
            "throttling": throttling,
            "n_other_processes": others,
            "energy_source": self.energy_source,
            "warnings": list(self.warnings),
        }

    def close(self) -> None:
        """Give NVML back; a lost GPU is no error any more."""
        try:
            self.nvml.nvmlShutdown()
        except (self.nvml.NVMLError, UnicodeError):
            pass

    def _throttling(self) -> list[str]:
        mask = self._read(self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self.handle) or 0
        found = [
            text for name, text in THROTTLING.items() if mask & getattr(self.nvml, f"nvmlClocksThrottleReason{name}")
        ]
        for text in found:
            self._warn(f"throttled: {text}")
        return found

    def _processes(self) -> list[Any] | None:
        found: list[Any] | None = self._read(self.nvml.nvmlDeviceGetComputeRunningProcesses, self.handle)
        return found

    def _other_processes(self) -> int | None:
        """Processes that are not this one. In a container, ids differ: one unknown process may be this one."""
        processes = self._processes()
        if processes is None:
            return None
        others = [p for p in processes if p.pid != os.getpid()]
        return len(others) if len(others) < len(processes) else max(0, len(others) - 1)

    def _read(self, function: Any, *args: Any) -> Any:
        """One reading; None where this GPU has no such value, or is gone."""
        if self.reason:
            return None
        try:
            return function(*args)
        except self.nvml.NVMLError as error:
            if getattr(error, "value", None) in (
                self.nvml.NVML_ERROR_GPU_IS_LOST,
                self.nvml.NVML_ERROR_UNINITIALIZED,
                self.nvml.NVML_ERROR_UNKNOWN,
            ):
                self.reason = f"the GPU was lost during the run ({error})"
                self._warn(self.reason)
            return None
        except UnicodeError:  # a driver that gives a text in no encoding at all
            self._warn(f"{getattr(function, '__name__', 'a reading')} is a text that is not UTF-8")
            return None

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


class _PowerSampler:
    """Integrates power (mW) over time by trapezoids, from a thread of its own."""

    def __init__(self, read_mw: Any) -> None:
        self._read = read_mw
        self._done = threading.Event()
        self._joules, self._failed = 0.0, False
        self._last = (time.monotonic(), read_mw())
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._add()

    def _add(self) -> None:
        now = (time.monotonic(), self._read())
        if now[1] is None or self._last[1] is None:
            self._failed = True
        else:
            self._joules += (now[1] + self._last[1]) / 2000 * (now[0] - self._last[0])
        self._last = now

    def stop(self) -> float | None:
        """Joules so far; None if a reading failed."""
        self._done.set()
        self._thread.join()
        self._add()
        return None if self._failed else self._joules


def open_gpu(device: str, profile: str, uuid: str | None = None, nvml: Any = None) -> Gpu:
    """The reader for a run's device; never raises.

    Args:
        device: torch device.
        profile: ``off`` reads nothing.
        uuid: of the GPU (``GPU-...``), so that a masked or reordered device is not taken for another; found through
            torch where it is None.
        nvml: a stand-in for the module, in tests.
    """
    if profile == "off":
        return NoGpu("--profile off")
    if device == "spread":
        return NoGpu("device spread: energy and state of several GPUs are not read")
    if not device.startswith("cuda"):
        return NoGpu(f"device {device}: no GPU was used")
    try:
        nvml = nvml or importlib.import_module("pynvml")
    except ImportError:
        return NoGpu("the module pynvml is missing: pip install nvidia-ml-py")
    try:
        nvml.nvmlInit()
        return NvmlGpu(nvml, nvml.nvmlDeviceGetHandleByUUID(uuid or _uuid(device)))
    except nvml.NVMLError as error:
        return NoGpu(f"NVML cannot be used ({error})")
    except (RuntimeError, AssertionError, AttributeError, UnicodeError) as error:
        return NoGpu(f"the GPU of {device} cannot be told ({error})")


def marked(state: GpuState | None, reason: str, earlier: GpuState) -> GpuState:
    """The GPU entry of a run's environment: its state, with the warnings of an earlier session of the same run.

    Args:
        state: of now, None without a GPU.
        reason: why there is none.
        earlier: the entry that stands there, or {}.
    """
    absent: GpuState = {"name": earlier.get("name"), "reason": reason}
    now = state or absent
    warnings = list(dict.fromkeys([*earlier.get("warnings", []), *now.get("warnings", [])]))
    return {**now, "warnings": warnings}


def _uuid(device: str) -> str:
    import torch

    return f"GPU-{torch.cuda.get_device_properties(torch.device(device)).uuid}"


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
