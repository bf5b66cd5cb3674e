"""What people do with accounts: open, refund, correct, transfer, move out, close."""
