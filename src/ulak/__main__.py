"""What happens on ``python -m ulak``? The same as on the ``ulak`` command."""

from ulak.cli import main

if __name__ == "__main__":
    main(prog_name="ulak")
