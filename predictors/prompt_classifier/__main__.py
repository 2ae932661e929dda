from predictors.prompt_classifier.predictor import PromptClassifier
from predictors.prompt_classifier.settings import ClassifierSettings
from predictors.runtime.main import main

if __name__ == "__main__":
    main(ClassifierSettings, PromptClassifier)
