"""What AWS asks: dated price lists, one a region."""
