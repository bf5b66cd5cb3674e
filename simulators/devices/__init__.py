"""Device models: pure state machines that are told the time and answer with messages of the wire contract."""
