"""Provide the embedded checkpoint for photographs, ONNX networks that need no torch.

May import: grain.box_overlap, grain.checkpoint, grain.command, grain.config, grain.recent_features, grain.structures,
grain.time_limit.
"""
