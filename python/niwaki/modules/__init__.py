"""What every verb needs of a module: copies, checks, names and patterns, whether a layer is what its base class is."""
