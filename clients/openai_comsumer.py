"""The original's module, under its own name: ``from openai_comsumer import OpenAITritonService``."""

from quintet_client.triton import OpenAITritonService

__all__ = ["OpenAITritonService"]
