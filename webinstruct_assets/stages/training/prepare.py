"""From a job to a trainer that is ready: the model, the adapters, the conversations, and which tokens carry loss."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.stages.training.job import TrainingJob

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTTrainer

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


@dataclass(frozen=True)
class Prepared:
    """A trainer that is ready to train, and the ids of the rows that it left out."""

    trainer: "SFTTrainer"
    rows_read: int
    dropped: list[str]


def prepare(job: TrainingJob) -> Prepared:
    """The SFTTrainer of a job. Raises MissingModel; ConfigError for a batch or adapters that do not fit."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from transformers.utils.logging import disable_progress_bar
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    base = Path(job.base_model)
    if not (base / "config.json").exists():
        raise MissingModel(f"base model: {base} holds no config.json", "materialize or fetch the base model again")
    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATE.read_text()
    gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(job.scratch / "checkpoints"),
        max_steps=-1 if job.steps is None else job.steps,
        num_train_epochs=job.epochs,
        learning_rate=job.learning_rate,
        lr_scheduler_type=job.schedule,
        warmup_steps=_warmup(job),
        per_device_train_batch_size=job.per_device_batch,
        gradient_accumulation_steps=accumulation(job, int(os.environ.get("WORLD_SIZE", "1"))),
        max_length=job.max_length,
        packing=job.packing,
        completion_only_loss=job.loss == "response",
        seed=job.seed,
        data_seed=job.seed,
        use_cpu=not gpu,
        bf16=gpu,  # without a GPU bfloat16 is emulated, and slower than float32
        gradient_checkpointing=gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,  # otherwise the Trainer logs the mean of the other steps instead of NaN
        save_strategy="no",  # by time instead, see step_log
        save_total_limit=2,  # the older one is for when the newer turns out damaged
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=gpu,
        ddp_find_unused_parameters=False,
    )
    data = training_data(job)
    ids = data["id"]
    if job.packing and job.loss == "response":
        # What TRL drops otherwise it would pack.
        data = data.filter(lambda row: _prompt_length(tokenizer, row["prompt"]) < job.max_length)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    trainer = SFTTrainer(model=_adapted(job, model), args=arguments, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)  # our own lines say the same, readably
    # TRL drops rows whose prompt alone fills max_length: no token of them would carry loss.
    kept = set(trainer.train_dataset["id"] if "id" in trainer.train_dataset.column_names else data["id"])
    return Prepared(trainer, len(ids), [identity for identity in ids if identity not in kept])


def _prompt_length(tokenizer: Any, prompt: list[dict[str, str]]) -> int:
    return len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))


def accumulation(job: TrainingJob, processes: int) -> int:
    """Gradient accumulation of each process. Raises ConfigError where ``global_batch`` cannot be made up of whole ones."""
    if job.global_batch is None:
        return job.gradient_accumulation
    at_once = job.per_device_batch * processes
    if job.global_batch % at_once:
        raise ConfigError(
            f"global_batch {job.global_batch} is no multiple of per_device_batch {job.per_device_batch} × {processes} processes",
            "choose a per_device_batch that divides it, or another number of processes",
        )
    return job.global_batch // at_once


def _adapted(job: TrainingJob, model: Any) -> Any:
    """The model, with LoRA adapters around it where the recipe has them."""
    if job.lora is None:
        return model
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    lora = job.lora
    set_seed(job.seed)  # adapters begin at random, before the trainer sets the seed
    adapters = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=lora["target_modules"],
    )
    try:
        return get_peft_model(model, adapters)
    except ValueError as error:  # peft's only answer to names that match nothing
        linear = sorted(
            {name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "weight")}
        )
        raise ConfigError(
            f"lora.target_modules {lora['target_modules']}: {error}",
            f"use all-linear, or names among {', '.join(linear)}",
        ) from error


def _warmup(job: TrainingJob) -> float:
    """TRL reads numbers below 1 as a share of all steps; a share of exactly 1 is all of them."""
    return job.warmup_ratio if job.warmup_ratio < 1 else float(job.steps or 1)


def training_data(job: TrainingJob) -> "Dataset":
    """The conversations in the form that puts the loss where the recipe wants it.

    ``response``: prompt and completion, so that only the last answer's tokens carry loss (with the token that
    ends it). ``all``: one sequence of messages, where every token does. A recipe's pages, of one turn each, are documents:
    their text as it is, without a chat template.
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    data = Dataset.from_parquet(job.data, columns=["id", "messages"], cache_dir=str(job.scratch / "cache"))
    if job.loss == "all":
        if not len(data) or len(data[0]["messages"]) > 1:
            return data
        return data.map(lambda row: {"text": row["messages"][0]["content"]}, remove_columns=["messages"])
    return data.map(
        lambda row: {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]},
        remove_columns=["messages"],
    )
