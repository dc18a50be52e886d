"""How good a policy is on some splits: `runner` answers and segments, `report` turns predictions into numbers."""

from aurora_trl.evaluation.predictions import Prediction, read_predictions
from aurora_trl.evaluation.report import Evaluation
from aurora_trl.evaluation.rescoring import evaluate_predictions
from aurora_trl.evaluation.runner import EvaluationConfig, evaluate_policy


__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "Prediction",
    "evaluate_policy",
    "evaluate_predictions",
    "read_predictions",
]
