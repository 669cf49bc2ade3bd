"""What leaves the home: graded answers as logs, tables and checkpoints with a card that says what they are."""
