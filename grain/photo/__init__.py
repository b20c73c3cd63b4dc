"""Provide the embedded checkpoint for photographs, ONNX networks that need no torch.

May import: grain.checkpoint, grain.command, grain.config, grain.structures, grain.time_limit.
"""
