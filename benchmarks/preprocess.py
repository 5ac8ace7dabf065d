"""How fast `preprocess` is, and how much memory it takes: one JSON object on stdout.

Synthetic support chats in a temporary folder and a byte-level BPE tokenizer trained on them; no network. Per core,
because the machine may have others to serve: `rows_per_cpu_second` counts the time of all threads.
"""

import argparse
import json
import logging
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from luthier.spec import DataSpec
from workers.data.local_report import LogReport
from workers.data.pipeline import preprocess
from workers.data.report import write_report

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TARGET_ROWS_PER_HOUR = 1_000_000


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.rows)))


def measure(folder: Path, num_rows: int) -> dict[str, object]:
    """Times one run over `num_rows` chats of about 200 tokens, one in fifty a duplicate."""
    randomness = random.Random(0)  # noqa: S311
    words = ["".join(randomness.choices("etaoinshrdlucmfwyp", k=randomness.randint(2, 9))) for _ in range(4000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    tokenizer = _train_tokenizer([" ".join(randomness.choices(words, weights, k=200)) for _ in range(500)])
    rows = folder / "rows.jsonl"
    prompt = answer = ""
    with rows.open("w", encoding="utf-8") as stream:
        for number in range(num_rows):
            if number % 50 != 49:
                prompt = " ".join(randomness.choices(words, weights, k=randomness.randint(20, 160)))
                answer = " ".join(randomness.choices(words, weights, k=randomness.randint(10, 80)))
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            stream.write(json.dumps({"messages": messages}) + "\n")
    output = folder / "output"
    output.mkdir()
    spec = DataSpec(path=str(rows))
    before = _peak_mib()
    wall, cpu = time.monotonic(), time.process_time()
    outcome = preprocess(spec, tokenizer, output, lambda path, key: None, LogReport())
    report = write_report(outcome, spec, tokenizer, output)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    num_tokens = sum(split["num_tokens"] for split in report["splits"].values())
    return {
        "benchmark": "preprocess",
        "num_rows": num_rows,
        "num_tokens": num_tokens,
        "source_mib": round(rows.stat().st_size / 2**20, 1),
        "seconds": round(wall, 2),
        "rows_per_second": round(num_rows / wall),
        "rows_per_cpu_second": round(num_rows / cpu),
        "tokens_per_cpu_second": round(num_tokens / cpu),
        "rows_per_hour": round(num_rows / wall * 3600),
        "target_rows_per_hour": TARGET_ROWS_PER_HOUR,
        "rss_mib_before": before,
        "peak_rss_mib": _peak_mib(),
    }


def _train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")  # noqa: S106
    tokenizer.chat_template = CHATML
    return tokenizer


def _peak_mib() -> int:
    """Peak resident memory so far; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


if __name__ == "__main__":
    main()
