"""Double entry: journals, accounts, the outbox to the twins, approvals and audit."""
