"""Train the model: losses, matching, the loop, and what keeps a run safe.

May import: grain.boxes, grain.checkpoint, grain.command, grain.config, grain.config_file, grain.data, grain.dense,
grain.evaluate, grain.familiarity, grain.hardware, grain.model, grain.photo, grain.predict, grain.run_settings,
grain.structures, grain.train_config, grain.zero_shot.
"""
