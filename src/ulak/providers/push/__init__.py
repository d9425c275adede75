"""Providers of push."""
