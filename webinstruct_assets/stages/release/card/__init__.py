"""The dataset card: its template, what it says of other datasets and of licences."""
