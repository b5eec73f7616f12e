"""What records are made of, whatever they are of: posted, stored, listed. Web-free."""
