"""What people watch and answer: alarms, incidents, switching, webhooks, gauges, tokens."""
