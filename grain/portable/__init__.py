"""Run a trained GRAIN without torch: its graphs in ONNX, its vocabulary in a file.

May import: grain.checkpoint, grain.config, grain.preprocess, grain.structures, grain.time_limit.
"""
