"""Models as other programs name and arrange them, written anew from their published architecture."""
