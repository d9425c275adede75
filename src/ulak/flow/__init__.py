"""Durable stages that talk by rows, not by calls: accept, plan, attempt, receipts."""
