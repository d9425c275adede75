"""Valkey between nodes: hints only. Whatever is lost here is found again by comparing revisions."""
