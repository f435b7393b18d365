"""What is kept: tables, files, and the few questions asked of them."""
