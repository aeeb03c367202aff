"""One module for each golden file or family of files; each offers `make(libs)`."""
