"""Look at one revision: figures with their uncertainty, and pictures for people.

Each evaluator is one file; others come by the entry-point group `stockpot.evaluator`. Every
revision is asked the same questions with the same noise, so that two differ by their weights alone.
"""
