"""What does Ulak claim of its speed, and how is each claim measured? One module a claim."""
