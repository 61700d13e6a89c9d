"""Evaluate one revision: figures with their uncertainty, and pictures for people.

Each evaluator is one file; others come by the entry-point group `stockpot.evaluator`. All revisions
meet the same prompts and the same noise, so that figures differ by the weights alone.
"""
