"""Files from other projects, read without executing anything in them."""
