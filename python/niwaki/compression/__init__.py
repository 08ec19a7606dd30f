"""niwaki.compress: what it takes, and the steps that it does."""
