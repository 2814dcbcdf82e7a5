"""Reading what XLA made of a program: its instructions, and what they cost."""
