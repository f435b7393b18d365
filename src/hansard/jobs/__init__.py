"""Durable work: the queue (the truth), the worker (who does it), delivery (who is woken)."""
