"""Ulak: send one event; it decides who should hear of it, on which channel and when, and can say why."""

__version__ = "0.1.0"
