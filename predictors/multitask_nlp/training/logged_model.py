"""The model as MLflow loads it: a table of task, text, question and context in, JSON out.

MLflow runs this file when the model is logged and when it is loaded ("models from code"), so it is the one
module here with an effect of its own: it names its model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.models
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from predictors.multitask_nlp.predictor import MultitaskNlp
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.runtime.errors import ServiceError


class LoggedModel(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["checkpoint"])
        self._predictor = MultitaskNlp(MultitaskSettings(model_dir=folder))  # pyright: ignore[reportCallIssue]
        self._predictor.load(lambda _: None)

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base says None and means anything
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        rows = [
            {str(name): value for name, value in row.items() if isinstance(value, str)}
            for row in model_input.to_dict("records")
        ]
        results = self._predictor.analyse([self._predictor.parse(row) for row in rows])
        return pd.DataFrame({"analysis": [self._json(result) for result in results]})

    def _json(self, result: Any) -> str:
        if isinstance(result, ServiceError):
            return json.dumps(result.body())
        fields = self._predictor.render(result)
        return json.dumps({name: value for name, value in fields.items() if value is not None})


mlflow.models.set_model(LoggedModel())
