"""The answers of a network to many inputs, with bounded memory, on one machine or several."""
