"""From a job to a trainer that is ready: the model, the adapters, the training set."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import ConfigError, MissingModel
from webinstruct_assets.stages.training.job import TrainingJob
from webinstruct_assets.stages.training.tokens import TrainingSet, training_set

if TYPE_CHECKING:
    from trl import SFTTrainer

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


@dataclass(frozen=True)
class Prepared:
    """A trainer that is ready to train, and what became of the rows of its job."""

    trainer: "SFTTrainer"
    read: TrainingSet


def prepare(job: TrainingJob) -> Prepared:
    """The SFTTrainer of a job. Raises MissingModel; ConfigError for a batch or adapters that do not fit; BadInput."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from transformers.utils.logging import disable_progress_bar
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    base = Path(job.base_model)
    if not (base / "config.json").exists():
        raise MissingModel(f"base model: {base} holds no config.json", "materialize or fetch the base model again")
    positions = getattr(AutoConfig.from_pretrained(base), "max_position_embeddings", None)
    if positions and job.max_length > positions:
        raise ConfigError(
            f"max_length {job.max_length} is more than the {positions} tokens that the base model has positions for",
            "lower max_length in the recipe, or choose another base model",
        )
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
        warmup_steps=job.warmup_ratio,  # below 1: a share of all steps
        per_device_train_batch_size=job.per_device_batch,
        gradient_accumulation_steps=accumulation(job, int(os.environ.get("WORLD_SIZE", "1"))),
        max_length=job.max_length if job.packing else None,  # rows are cut to it already
        packing=job.packing,
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
        ddp_timeout=7200,  # seconds; the first process alone tokenizes and packs, the others wait
    )
    with arguments.main_process_first(local=False):  # the others read what it wrote
        read = training_set(job, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    trainer = SFTTrainer(
        model=_adapted(job, model), args=arguments, train_dataset=read.data, processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)  # our own lines say the same, readably
    return Prepared(trainer, read)


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
