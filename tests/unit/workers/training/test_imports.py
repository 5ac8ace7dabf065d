"""What a runner that trains LoRA loads: libraries that it never uses cost seconds of its start and lines of its log.

bitsandbytes is not in the list: PEFT loads it with itself wherever it is installed.
"""

import subprocess
import sys
from pathlib import Path

UNUSED = ("daft", "datasets", "deepspeed", "liger_kernel", "nevergrad", "sklearn", "trl", "vllm")
TRAINING = """
import sys
from pathlib import Path
from luthier import telemetry
from luthier.settings import WorkerSettings
telemetry.start("runner", WorkerSettings())
from tests.unit.workers.training.tiny_run import Recorder, make_engine
from workers.training import stage
from workers.training.methods import METHODS
folder = Path(sys.argv[1])
engine, model = make_engine(folder, Recorder(), max_steps=1)
engine.run()
METHODS["lora"].save(model, folder, folder)
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


def test_a_lora_run_loads_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TRAINING, str(tmp_path), *UNUSED],
        cwd=Path(__file__).parents[4],
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert ran.stdout.split() == []
    assert "bitsandbytes" not in ran.stderr, "PEFT loads it; what it advises is no news for the log of a job"
