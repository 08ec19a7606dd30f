"""Work that goes through a network layer by layer, with what each layer sees: covariances, reconstruction, rounding."""
