"""Errors of torch and the system, as what a user can do about them."""

import errno
import json
import os

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.stages.training.job import TrainingJob


def explained(error: Exception, job: TrainingJob) -> WebInstructError | None:
    """``error`` with its fix; None for one that is nobody's but the program's."""
    import torch

    # torch and safetensors wrap the system's error in types of their own; its text stays.
    text = str(error)
    if isinstance(error, WebInstructError):
        return error
    if os.strerror(errno.ENOSPC) in text or getattr(error, "errno", None) == errno.ENOSPC:
        return WebInstructError(
            f"no space left on the disk of {job.folder}",
            "free some; the training resumes from its last checkpoint",
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return WebInstructError(
            f"out of memory with per_device_batch {job.per_device_batch} and max_length {job.max_length}: {text.splitlines()[0] if text else 'no memory left'}",
            "lower per_device_batch (with global_batch in the recipe, the batch of a step stays the same) or max_length; "
            "gradient checkpointing is on already wherever there is a GPU: next are config/accelerate/ with FSDP or "
            "ZeRO-3, more GPUs, or lora in the recipe",
        )
    return None


def record(job: TrainingJob, error: WebInstructError) -> None:
    """Leaves the error to the stage, from whichever process has it first: the others fail for want of that one."""
    try:
        with (job.scratch / "error.json").open("x") as stream:
            json.dump({"kind": type(error).__name__, "problem": error.problem, "fix": error.fix}, stream)
    except OSError:  # another was first, or the disk is full; then the log has it
        pass
