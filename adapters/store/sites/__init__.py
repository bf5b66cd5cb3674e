"""What a site is: tenants, devices, supplies, tariffs, rules, plans; import, rebuild, registers."""
