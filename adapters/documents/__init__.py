"""Documents for people: bills, statements and reports as Excel, PDF and CSV; tenants and meters read from Excel."""
