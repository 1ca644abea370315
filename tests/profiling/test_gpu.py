"""The NVML reader against a stand-in of the library's functions; the module's own names are checked, too."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from vtprune_eval.profiling import gpu as module
from vtprune_eval.profiling.gpu import THROTTLING, NoGpu, NvmlGpu, marked, open_gpu

NAMES = (
    "nvmlInit",
    "nvmlShutdown",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetName",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetComputeRunningProcesses",
    "NVMLError",
    "NVML_CLOCK_SM",
    "NVML_CLOCK_MEM",
    "NVML_TEMPERATURE_GPU",
    "NVML_ERROR_GPU_IS_LOST",
    "NVML_ERROR_NOT_SUPPORTED",
    "NVML_ERROR_UNINITIALIZED",
    "NVML_ERROR_UNKNOWN",
    *(f"nvmlClocksThrottleReason{n}" for n in THROTTLING),
)


class FakeError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class FakeNvml:
    """The functions that the reader calls, over a settable GPU."""

    NVMLError = FakeError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_GPU_IS_LOST, NVML_ERROR_UNINITIALIZED, NVML_ERROR_UNKNOWN = 3, 15, 1, 999

    def __init__(self) -> None:
        self.energy_mj, self.power_mw, self.mask = 5_000_000, 250_000, 0
        self.processes = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=7)]
        self.error: int | None = None
        self.no_counter = self.shut = False
        for i, name in enumerate(THROTTLING):
            setattr(self, f"nvmlClocksThrottleReason{name}", 1 << i)

    def _value(self, value):
        if self.error is not None:
            raise FakeError(self.error)
        return value

    def nvmlInit(self):
        self._value(None)

    def nvmlShutdown(self):
        self.shut = True
        self._value(None)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return self._value(("handle", uuid))

    def nvmlDeviceGetTotalEnergyConsumption(self, h):
        if self.no_counter:
            raise FakeError(self.NVML_ERROR_NOT_SUPPORTED)
        return self._value(self.energy_mj)

    def nvmlDeviceGetPowerUsage(self, h):
        return self._value(self.power_mw)

    def nvmlDeviceGetName(self, h):
        return self._value(b"Test GPU")

    def nvmlSystemGetDriverVersion(self):
        return self._value("570.1")

    def nvmlDeviceGetClockInfo(self, h, kind):
        return self._value({1: 1500, 2: 2600}[kind])

    def nvmlDeviceGetMaxClockInfo(self, h, kind):
        return self._value(1980)

    def nvmlDeviceGetTemperature(self, h, kind):
        return self._value(41)

    def nvmlDeviceGetEnforcedPowerLimit(self, h):
        return self._value(700_000)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, h):
        return self._value(self.mask)

    def nvmlDeviceGetComputeRunningProcesses(self, h):
        return self._value(self.processes)


@pytest.fixture
def nvml():
    return FakeNvml()


@pytest.fixture
def gpu(nvml):
    return open_gpu("cuda:0", "full", uuid="GPU-1", nvml=nvml)


def test_the_stand_in_has_the_names_of_the_library():
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    assert not [n for n in NAMES if not hasattr(pynvml, n)]
    assert not [n for n in NAMES if not hasattr(FakeNvml(), n)]


def test_energy_is_the_difference_of_the_counter(gpu, nvml):
    assert gpu.handle == ("handle", "GPU-1")
    gpu.start()
    nvml.energy_mj += 12_340
    assert gpu.stop() == 12.34
    assert gpu.stop() is None  # no window is open


def test_a_counter_that_went_back_gives_nothing(gpu, nvml):
    gpu.start()
    nvml.energy_mj = 10
    assert gpu.stop() is None


def test_power_is_sampled_where_there_is_no_counter(nvml):
    nvml.no_counter = True
    gpu = open_gpu("cuda", "full", uuid="GPU-1", nvml=nvml)
    start = time.monotonic()
    gpu.start()
    time.sleep(0.12)
    joules, elapsed = gpu.stop(), time.monotonic() - start
    assert gpu.state()["energy_source"] == "sampled power"
    assert 250 * 0.12 <= joules <= 250 * elapsed


def test_power_that_cannot_be_read_gives_nothing(nvml):
    nvml.no_counter = True
    gpu = open_gpu("cuda", "full", uuid="GPU-1", nvml=nvml)
    gpu.start()
    nvml.error = nvml.NVML_ERROR_NOT_SUPPORTED
    assert gpu.stop() is None


def test_state_of_a_quiet_gpu(gpu):
    assert gpu.state() == {
        "name": "Test GPU",
        "driver": "570.1",
        "sm_mhz": 1500,
        "sm_max_mhz": 1980,
        "memory_mhz": 2600,
        "power_limit_w": 700.0,
        "temperature_c": 41,
        "throttling": [],
        "n_other_processes": 0,
        "energy_source": "counter",
        "warnings": [],
    }
    assert gpu.process_bytes() == 7


@pytest.mark.parametrize("name", THROTTLING)
def test_a_throttled_gpu_is_marked_and_stays_marked(gpu, nvml, name):
    nvml.mask = getattr(nvml, f"nvmlClocksThrottleReason{name}")
    assert gpu.state()["throttling"] == [THROTTLING[name]]
    nvml.mask = 0
    after = gpu.state()
    assert after["throttling"] == [] and after["warnings"] == [f"throttled: {THROTTLING[name]}"]


def test_throttling_under_load_is_seen_at_the_end_of_a_sample(gpu, nvml):
    gpu.start()
    nvml.mask = nvml.nvmlClocksThrottleReasonSwPowerCap
    gpu.stop()
    nvml.mask = 0
    assert gpu.state()["warnings"] == ["throttled: software power cap"]


def test_a_resumed_run_keeps_its_marks(gpu):
    entry = marked(gpu.state(), "", {"warnings": ["other processes on the GPU"], "name": "old"})
    assert entry["warnings"] == ["other processes on the GPU"] and entry["name"] == "Test GPU"
    assert marked(None, "device cpu", {}) == {"name": None, "reason": "device cpu", "warnings": []}


def test_other_processes_are_counted(gpu, nvml):
    nvml.processes.append(SimpleNamespace(pid=-5, usedGpuMemory=9))
    assert gpu.state()["n_other_processes"] == 1
    assert gpu.state()["warnings"] == ["other processes on the GPU"]


def test_in_a_container_one_unknown_process_is_this_one(gpu, nvml):
    nvml.processes = [SimpleNamespace(pid=-5, usedGpuMemory=9)]
    assert gpu.state()["n_other_processes"] == 0
    assert gpu.process_bytes() is None


def test_a_lost_gpu_is_said_once_and_breaks_nothing(gpu, nvml):
    gpu.start()
    nvml.error = nvml.NVML_ERROR_GPU_IS_LOST
    assert gpu.stop() is None and gpu.process_bytes() is None
    state = gpu.state()
    assert state["name"] is None and len(state["warnings"]) == 1 and "was lost" in state["warnings"][0]
    gpu.close()
    assert nvml.shut


def test_an_unsupported_value_is_none_and_no_loss(gpu, nvml):
    nvml.error = nvml.NVML_ERROR_NOT_SUPPORTED
    assert gpu.state()["sm_mhz"] is None
    nvml.error = None
    assert gpu.state()["sm_mhz"] == 1500 and gpu.reason == ""


@pytest.mark.parametrize(
    ("device", "profile", "says"), [("cpu", "full", "no GPU was used"), ("cuda", "off", "--profile off")]
)
def test_nothing_to_read_says_why(device, profile, says):
    gpu = open_gpu(device, profile)
    gpu.start()
    assert isinstance(gpu, NoGpu) and says in gpu.reason
    assert (gpu.stop(), gpu.state(), gpu.process_bytes()) == (None, None, None)


def test_no_driver_and_no_module_say_why(nvml, monkeypatch):
    nvml.error = 9
    assert "NVML cannot be used (error 9)" in open_gpu("cuda", "full", "GPU-1", nvml).reason

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", absent)
    assert "pip install nvidia-ml-py" in open_gpu("cuda", "full").reason


if os.path.exists("/dev/nvidiactl"):  # on other machines there is nothing to test, and nothing is skipped

    def test_a_real_gpu():
        import torch

        assert torch.cuda.is_available(), "torch sees no CUDA device"
        gpu = open_gpu("cuda:0", "full")
        assert isinstance(gpu, NvmlGpu)
        gpu.start()
        x = torch.randn(4096, 4096, device="cuda")
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            x = x @ x * 1e-3
        torch.cuda.synchronize()
        joules = gpu.stop()
        assert joules is not None and 1 < joules < 2000
        assert gpu.state()["name"] and gpu.state()["driver"]
        gpu.close()


@pytest.mark.parametrize("name", ["nvmlDeviceGetName", "nvmlSystemGetDriverVersion", "nvmlDeviceGetPowerUsage"])
def test_a_text_that_is_not_utf_8_is_absent_and_told(nvml, name, monkeypatch):
    def broken(*args):
        raise UnicodeDecodeError("utf-8", b"\xf8", 0, 1, "invalid start byte")

    broken.__name__ = name
    monkeypatch.setattr(nvml, name, broken)
    nvml.no_counter = name == "nvmlDeviceGetPowerUsage"
    gpu = open_gpu("cuda:0", "full", uuid="GPU-x", nvml=nvml)
    gpu.start()
    energy, state = gpu.stop(), gpu.state()
    key = {"nvmlDeviceGetName": "name", "nvmlSystemGetDriverVersion": "driver"}.get(name)
    assert state[key] is None if key else energy is None
    assert f"{name} is a text that is not UTF-8" in state["warnings"] and gpu.reason == ""


def test_nvml_that_cannot_be_started_for_its_text_is_no_gpu(nvml, monkeypatch):
    def broken():
        raise UnicodeDecodeError("utf-8", b"\xf8", 0, 1, "invalid start byte")

    monkeypatch.setattr(nvml, "nvmlInit", broken)
    assert isinstance(open_gpu("cuda:0", "full", uuid="GPU-x", nvml=nvml), NoGpu)
