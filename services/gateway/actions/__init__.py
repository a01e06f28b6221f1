"""What a request does, in the product's words: reads and commits of the library, calls of the other services."""
