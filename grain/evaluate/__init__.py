"""Evaluate models on data sets: metrics with intervals, comparisons, reports.

May import: grain.box_overlap, grain.checkpoint, grain.class_texts, grain.command, grain.config, grain.data,
grain.model, grain.photo, grain.predict, grain.structures, grain.zero_shot.
"""
