"""The program shipped to workers. Standard library only, Python 3.9 and later; imports nothing of ours."""
