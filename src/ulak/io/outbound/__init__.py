"""What may leave this process, and how: the egress guard and the senders behind it."""
