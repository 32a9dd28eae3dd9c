"""Prediction: an image in, a mask on its own grid or probabilities of classes out."""

from unimiss.inference.predictor import Predictor

__all__ = ["Predictor"]
