"""The SDK and the command line load nothing of the services, and nothing heavy."""

import json
import subprocess
import sys

HEAVY = {
    "torch", "transformers", "peft", "daft", "numpy", "pyarrow", "tritonclient",
    "sqlmodel", "sqlalchemy", "asyncpg", "alembic", "nats",
    "coordinator", "workers", "gateway",
}  # fmt: skip
PROGRAM = """
import json, sys
import luthier, luthier.spec, luthier.client, luthier.cli.main
luthier.Client, luthier.AsyncClient, luthier.errors.LuthierError
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_importing_the_sdk_and_the_command_line_stays_light():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert not HEAVY & set(json.loads(done.stdout))


def test_importing_the_package_loads_no_submodule():
    program = "import sys, luthier; print([name for name in sys.modules if name.startswith('luthier.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
