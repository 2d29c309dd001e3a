"""Fine-tuning a base model on a recipe's training set, in a process of its own."""
