"""Small PyTorch references of the three models, used only to write golden files."""
