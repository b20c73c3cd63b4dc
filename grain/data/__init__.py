"""Read data: training shards, tokens, and the data sets of an evaluation.

May import: grain.boxes, grain.class_texts, grain.config, grain.hard_negatives, grain.portable, grain.preprocess,
grain.sentences, grain.structures, grain.train_config.
"""
