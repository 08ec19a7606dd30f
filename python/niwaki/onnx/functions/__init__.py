"""What converted networks call that torch does not have under one name. All of it runs under torch.export."""
