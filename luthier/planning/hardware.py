"""The table of hardware that plans compare: packaged beside this file, or a user's own (LUTHIER_HARDWARE)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from luthier.errors import InvalidRequestError
from luthier.spec.base import Section

PACKAGED = Path(__file__).with_name("hardware.yaml")


class Hardware(Section):
    """One machine. The units are explained at the head of hardware.yaml."""

    name: str
    devices: int = Field(default=1, ge=1)
    kind: Literal["cpu", "gpu"] = "gpu"
    memory_gib: float = Field(gt=0)
    host_memory_gib: float | None = Field(default=None, gt=0)
    bf16_tflops: float = Field(gt=0)
    fp32_tflops: float = Field(gt=0)
    bandwidth_gb_s: float = Field(gt=0)
    link_gb_s: float = Field(default=0.0, ge=0)
    watts: float | None = Field(default=None, gt=0)
    price_per_hour: float | None = Field(default=None, ge=0)
    efficiency: float = Field(gt=0, le=1)
    names: list[str] = Field(default=[])

    @property
    def memory_bytes(self) -> int:
        """Of one device."""
        return int(self.memory_gib * (1 << 30))

    @property
    def host_bytes(self) -> float:
        """Of the host; without limit where it is not known."""
        return float("inf") if self.host_memory_gib is None else self.host_memory_gib * (1 << 30)

    def flops(self, compute_bytes: int) -> float:
        """Floating-point operations per second that training reaches on one device.

        On a CPU `efficiency` is that of the quicker dtype. What is not spent on products there is spent on memory and
        takes about as long in either, so that of a slower dtype's speed a larger part is reached.
        """
        tflops = self.bf16_tflops if compute_bytes == 2 else self.fp32_tflops
        if self.kind == "gpu":
            return 1e12 * self.efficiency * tflops
        beside = (1 / self.efficiency - 1) / max(self.bf16_tflops, self.fp32_tflops)
        return 1e12 / (1 / tflops + beside)


class _Table(Section):
    currency: str
    hardware: list[Hardware] = Field(min_length=1)


@dataclass(frozen=True)
class HardwareTable:
    """What there is to choose from."""

    currency: str
    hardware: tuple[Hardware, ...]
    path: Path

    def find(self, accelerator: str, number: int) -> Hardware | None:
        """The row of that many accelerators, by what nvidia-smi calls them; None: the table has none."""
        for row in self.hardware:
            if row.devices == number and any(name in accelerator for name in row.names):
                return row
        return None

    def name(self, wanted: Sequence[str]) -> "HardwareTable":
        """The rows with these names.

        Raises:
            InvalidRequestError: there is no such row.
        """
        unknown = [name for name in wanted if name not in {row.name for row in self.hardware}]
        if unknown:
            known = ", ".join(row.name for row in self.hardware)
            raise InvalidRequestError(f"{self.path} has no hardware {unknown[0]!r}; it has {known}")
        return HardwareTable(self.currency, tuple(row for row in self.hardware if row.name in wanted), self.path)


def load_hardware(path: Path = Path()) -> HardwareTable:
    """The table at `path`; the packaged one when it is empty.

    Raises:
        InvalidRequestError: it cannot be read, or a row is wrong.
    """
    place = path if path != Path() else PACKAGED
    try:
        document = YAML(typ="safe", pure=True).load(place.read_text(encoding="utf-8"))
        table = _Table.model_validate(document)
    except OSError as error:
        raise InvalidRequestError(f"cannot read {place}: {error.strerror}; check LUTHIER_HARDWARE") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{place} is not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, row['loc']))}: {row['msg']}" for row in error.errors())
        raise InvalidRequestError(f"{place} is not a table of hardware: {faults}") from error
    return HardwareTable(table.currency, tuple(table.hardware), place)
