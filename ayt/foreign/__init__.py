"""Files of other projects, read without executing anything in them."""
