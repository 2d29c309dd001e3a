"""What our training process costs beside a bare TRL script: same model, data and hyper-parameters.

python -m perf.training [runs] [steps]

A small random Llama (the demo model's tokenizer) on the CPU. Both are processes of their own that print a line per
step; nothing is added to either for measuring, the clock reads when their lines arrive. Runs are interleaved, the order
changes from pair to pair, and each pair gives one ratio. Printed are the median ratios with a bootstrap interval over the
pairs: of the whole process (start to exit, imports and the saved model included), of its CPU time, which other work on
the machine bears on least, and of a step once the first two, which warm up, are left out. The whole of a training as
short as these is mostly imports; a long one's is its steps. One thread each: two would wait for each other wherever
anything else runs.
"""

import itertools
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.sft.sft_dataset import SCHEMA
from webinstruct_assets.stages.training.job import ENTRY_MODULE, TrainingJob

WARM_UP = 2
ROWS, BATCH, LENGTH = 256, 2, 128
GOAL = 1.03

# As in TRL's documentation; the lines from `logging_steps` on are what both have.
BARE = """
import sys
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

model, data, output, steps = sys.argv[1:]
dataset = load_dataset("parquet", data_files=data, split="train", cache_dir=output + "/cache").select_columns(["messages"])
dataset = dataset.map(
    lambda row: {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}, remove_columns=["messages"]
)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
    args=SFTConfig(
        output_dir=output, max_steps=int(steps), learning_rate=1e-4, lr_scheduler_type="cosine", warmup_steps=0,
        per_device_train_batch_size=BATCH, max_length=LENGTH, completion_only_loss=True, seed=0, use_cpu=True, bf16=False,
        gradient_checkpointing=False, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False,
    ),
    train_dataset=dataset,
    processing_class=AutoTokenizer.from_pretrained(model),
)
trainer.train()
trainer.save_model(output + "/model")
"""


def make_model(folder: Path, tokenizer: Path) -> None:
    """A Llama of 18 M parameters with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, folder / name)
    set_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4, eos_token_id=2,
        bos_token_id=1, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def make_data(path: Path) -> None:
    """Conversations that fill the length, so that every step costs the same."""
    words = random.Random(0)
    text = [" ".join(str(words.randrange(1000)) for _ in range(LENGTH)) for _ in range(ROWS)]
    rows = [
        {
            **dict.fromkeys(SCHEMA, ""),
            "id": f"sf-{number:024x}",
            "messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": answer}],
        }
        for number, answer in enumerate(text)
    ]
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(path)


def measured(command: list[str], marker: str, log: Path) -> dict[str, float]:
    """Wall-clock and CPU seconds of a whole process, and the median between its lines that begin with ``marker``."""
    environment = {
        **os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    start, cpu = time.perf_counter(), cpu_of_children()
    lines: list[float] = []
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(marker):
                lines.append(time.perf_counter())
    whole = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(log.read_text()[-4000:])
    steps = [later - earlier for earlier, later in itertools.pairwise(lines)][WARM_UP:]
    return {"whole process": whole, "its CPU time": cpu_of_children() - cpu, "step, warm": statistics.median(steps)}


def cpu_of_children() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interval(ratios: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[49], medians[1949]


def main(runs: int, steps: int) -> None:
    """Runs both in turn and prints the ratios."""
    ws = Workspace.open()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model, data, script = folder / "model", folder / "part-00000.parquet", folder / "bare.py"
        make_model(model, ws.model_dir("smollm2-135m", print))
        make_data(data)
        script.write_text(BARE.replace("=BATCH", f"={BATCH}").replace("=LENGTH", f"={LENGTH}"))

        def ours() -> dict[str, float]:
            build = folder / "ours"
            shutil.rmtree(build, ignore_errors=True)
            job = TrainingJob(
                base_model=str(model), data=[str(data)], folder=str(build), loss="response", steps=steps, epochs=1.0, learning_rate=1e-4,
                schedule="cosine", warmup_ratio=0.0, per_device_batch=BATCH, gradient_accumulation=1, max_length=LENGTH, packing=False, seed=0,
            )  # fmt: skip
            answer = measured([sys.executable, "-m", ENTRY_MODULE, str(job.save())], "step ", folder / "ours.log")
            assert json.loads((job.scratch / "result.json").read_text())["steps"] == steps
            return answer

        def bare() -> dict[str, float]:
            output = folder / "bare"
            shutil.rmtree(output, ignore_errors=True)
            command = [sys.executable, str(script), str(model), str(data), str(output), str(steps)]
            answer = measured(command, "{'loss'", folder / "bare.log")
            assert (output / "model/model.safetensors").exists()
            return answer

        pairs: list[tuple[dict[str, float], dict[str, float]]] = []
        for number in range(runs):
            first, second = (ours, bare) if number % 2 else (bare, ours)
            results = {way: way() for way in (first, second)}
            pairs.append((results[ours], results[bare]))
            each = (f"{name} {results[ours][name]:.2f} s, bare {results[bare][name]:.2f} s" for name in results[ours])
            print(f"pair {number + 1}: {'; '.join(each)}", flush=True)
    for name in pairs[0][0]:
        ratios = [mine[name] / other[name] for mine, other in pairs]
        low, high = interval(ratios)
        print(
            f"{name:<14} ours / bare: median {statistics.median(ratios):.4f} (95 % {low:.4f} to {high:.4f}, "
            f"{runs} interleaved pairs; goal at most {GOAL})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 10)
