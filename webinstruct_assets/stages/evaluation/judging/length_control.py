"""AlpacaEval's length-controlled win rate: the preference that a regression predicts for answers as long as the baseline's.

In: preferences on items with their positions in the set and both answers' lengths, and ``df_gamed.csv`` of the set's
authors: each instruction's difficulty, and annotations of a baseline told to be brief or verbose, which the fit is
regularised with. Out: the win rate with its interval. The regression itself (formula, weights, cross-validation) is the
code of alpaca_eval 0.6 (``length_controlled_v1``); only what it reads is put together here, since the package takes it from
the newest state of the hub and nowhere else.
Source: Y. Dubois et al., Length-controlled AlpacaEval: a simple way to debias automatic evaluators (2024).
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.intervals import bootstrap_items

if TYPE_CHECKING:
    import pandas as pd

GLM = "length_controlled_v1"
COLUMNS = {"index", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline"}


class Compared(NamedTuple):
    """An item's place in the set (from 0), the preference for the model (0 to 1), and characters of both answers."""

    position: int
    preference: float
    baseline_length: int
    model_length: int


class Controlled(NamedTuple):
    """A win rate from 0 to 1 with its 95 % interval, and the standard error that alpaca_eval publishes beside it.

    That error is the predictions' alone. The interval draws the items anew and fits each time, with the regularisation
    that was chosen for all of them.
    """

    win_rate: float
    low: float
    high: float
    standard_error: float


RESAMPLES = 300  # a fit is dearer than a mean


def length_controlled(compared: Sequence[Compared], gamed: Path) -> Controlled | None:
    """The length-controlled win rate; None where there are fewer items than folds, or all differ by the same length.

    Raises BadInput when ``gamed`` is no such table or lacks an item.
    """
    import numpy as np
    import pandas as pd
    import sklearn
    from alpaca_eval.metrics.glm_winrate import GLM_INFO, fit_LogisticRegressionCV, make_dmatrix_for_model

    settings: dict[str, Any] = GLM_INFO[GLM]
    frame = pd.DataFrame(compared)
    delta = frame["baseline_length"] - frame["model_length"]
    if len(frame) < settings["kwargs"]["n_splits"] or not delta.std():
        return None
    others = _gamed(gamed, frame["position"])
    difficulty = others.drop_duplicates("index").set_index("index")["instruction_difficulty"]
    own = pd.DataFrame(
        {
            "index": frame["position"],
            "preference": frame["preference"],
            "std_delta_len": delta / delta.std(),
            "instruction_difficulty": frame["position"].map(difficulty),
            "not_gamed_baseline": True,
        }
    )
    together = pd.concat([others, own], axis=0)
    real = together["not_gamed_baseline"].astype(bool)
    # Half of the weight each: there are two gamed baselines.
    weights = real.astype(float) + settings["regularize_to_baseline_lambda"] * (~real).astype(float) / 2
    train, test = make_dmatrix_for_model(together, own.assign(std_delta_len=0), formula=settings["formula"])

    def fit(rows: Any, **how: Any) -> Any:
        return fit_LogisticRegressionCV(
            train.iloc[rows], "preference", is_ytrue_proba=True, sample_weight=weights.iloc[rows], **how
        )

    with sklearn.config_context(), warnings.catch_warnings():  # the package turns metadata routing on for the process
        warnings.simplefilter("ignore")  # about parameters that scikit-learn 1.10 drops, hence the bound on its version
        model = fit(np.arange(len(train)), **settings["kwargs"])
        predicted = pd.Series(model.predict_proba(test)[:, 1])
        chosen = float(model.C_[0])

        def again(drawn: Any) -> float:
            refitted = fit(np.concatenate([np.arange(len(others)), len(others) + drawn]), n_splits=0, C=chosen)
            return float(refitted.predict_proba(test.iloc[drawn])[:, 1].mean())

        low, high = bootstrap_items(again, len(own), RESAMPLES)
    return Controlled(float(predicted.mean()), low, high, float(predicted.sem()))


def _gamed(path: Path, positions: "pd.Series[int]") -> "pd.DataFrame":
    import pandas as pd

    fix = "use df_gamed.csv of tatsu-lab/alpaca_eval, which belongs to its 805 instructions"
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise BadInput(f"{path}: not readable as CSV: {error}", fix) from error
    if missing := COLUMNS - set(table.columns):
        raise BadInput(f"{path}: no column {sorted(missing)[0]!r}", fix)
    if unknown := sorted(set(positions) - set(table["index"])):
        raise BadInput(f"{path}: no item {unknown[0]}", fix)
    return table[["index", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline"]]
