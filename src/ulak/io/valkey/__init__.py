"""Valkey between nodes: hints, presence and questions. Whatever is lost here is found again, or promised nothing."""
