"""KServe v1: ``{"instances": [...]}`` -> ``{"predictions": [...]}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from predictors.runtime.dataplane import DataPlane
from predictors.runtime.errors import Malformed
from predictors.runtime.tensors import detail
from predictors.runtime.transports.http import Answer, Request, dump, load_object, require_json


class V1:
    def __init__(self, dataplane: DataPlane[Any, Any]) -> None:
        self._dataplane = dataplane
        self._optional = any(spec.optional for spec in dataplane.predictor.outputs)

    async def predict(self, request: Request) -> Answer:
        self._dataplane.check_accepting()
        require_json(request.headers)
        instances = load_object(request.take_body()).get("instances")
        if not isinstance(instances, list):
            raise Malformed("instances must be a list.", details=[detail("instances", "must be a list")])
        self._dataplane.check_count(len(instances), "instances")
        items = self._dataplane.parse([self._fields(value) for value in instances], _place)
        results = await self._dataplane.infer_all(items, _place)
        predictions = self._dataplane.render(results)
        if self._optional:
            predictions = [{k: v for k, v in fields.items() if v is not None} for fields in predictions]
        return Answer(200, dump({"predictions": predictions}))

    def _fields(self, instance: Any) -> Mapping[str, Any]:
        # A model with one input takes its value bare, as the v1 examples of KServe do.
        if isinstance(instance, dict):
            return instance
        return {self._dataplane.predictor.inputs[0].name: instance}


def _place(index: int, field: str) -> str:
    return f"instances[{index}].{field}"
