"""Language models: where their weights lie, a shared local vLLM server, a client and its ledger of answers."""
