"""Plan mode: what a train step would cost on devices that need not be there."""
