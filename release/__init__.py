"""What is checked before a release."""
