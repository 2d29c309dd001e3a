"""What happens beside each optimizer step: the log, a loss that is no number, saving by the clock, the time limit."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.stages.training.job import TrainingJob, read_metrics


def step_log(job: TrainingJob, on_log: Callable[[str], None], main: bool) -> Any:
    """The trainer's callback. Raises QualityGate in the step whose loss or gradient is not finite."""
    from transformers import TrainerCallback

    before = read_metrics(job.metrics)[-1:] if main else []
    tokens_before, seconds_before = (before[0]["tokens"], before[0]["seconds"]) if before else (0, 0.0)

    class StepLog(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.start = self.saved = time.monotonic()
            self.tokens, self.seconds = tokens_before, seconds_before

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs is None or "loss" not in logs:
                return
            loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise QualityGate(
                    f"training stopped at step {state.global_step}: loss {loss}, gradient norm {norm}",
                    "lower learning_rate or raise warmup_ratio in the recipe; look at the rows of that step's batch",
                )
            if not main:
                return
            tokens = tokens_before + int(logs.get("num_tokens", 0))
            seconds = seconds_before + time.monotonic() - self.start
            rate = (tokens - self.tokens) / max(seconds - self.seconds, 1e-6)
            self.tokens, self.seconds = tokens, seconds
            record = {
                "step": state.global_step,
                "loss": loss,
                "learning_rate": float(logs["learning_rate"]),
                "grad_norm": norm,
                "tokens": tokens,
                "seconds": round(seconds, 3),
                "tokens_per_second": round(rate, 1),
                "time": time.time(),
                "of": state.max_steps,
                "world_size": args.world_size,
                "device": args.device.type,
            }
            with job.metrics.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            left = (state.max_steps - state.global_step) * seconds / state.global_step
            on_log(
                f"step {record['step']}/{state.max_steps}: loss {loss:.4f}, lr {record['learning_rate']:.2e}, "
                f"grad norm {norm:.2f}, {rate:,.0f} tokens/s, ETA {left:.0f} s"
            )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # The main process's clock decides for all: saving is a collective operation.
            now = time.monotonic()
            ended = state.global_step >= state.max_steps
            save, stop = agreed(
                [
                    not ended and now - self.saved >= job.save_seconds,
                    job.max_seconds is not None and seconds_before + now - self.start >= job.max_seconds,
                ]
            )
            if stop:
                control.should_training_stop = True
            elif save:
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved = time.monotonic()

    return StepLog()


def agreed(value: Any) -> Any:
    """The main process's ``value``, in every process."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
