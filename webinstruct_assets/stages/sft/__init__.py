"""Training sets: the rows of the dataset that a recipe takes, de-duplicated and chat-formatted."""
