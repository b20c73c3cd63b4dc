"""Train the model: losses, matching, the loop, and what keeps a run safe.

May import: grain.boxes, grain.checkpoint, grain.command, grain.config, grain.config_file, grain.data, grain.evaluate,
grain.model, grain.predict, grain.structures, grain.train_config,
grain.zero_shot.
"""
