from predictors.runtime.main import main
from predictors.text_evaluator.settings import TextEvaluatorSettings

if __name__ == "__main__":
    # Only now: vLLM's own processes import this file again.
    from predictors.text_evaluator.predictor import TextEvaluator

    main(TextEvaluatorSettings, TextEvaluator)
