"""From cleaned pages to natural question-answer pairs: rules first, an LLM that points at lines for the rest."""
