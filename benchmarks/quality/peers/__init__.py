"""What a user would pick instead, fitted and asked as its own documentation shows."""
