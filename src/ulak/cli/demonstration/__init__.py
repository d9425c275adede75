"""What does ``ulak demo`` do behind its command: cast, stack, drive, watch and judge a run from outside."""
