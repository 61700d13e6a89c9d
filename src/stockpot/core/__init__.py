"""Decisions: functions from frozen values to plans. No I/O, no clock, no dice, no torch."""
