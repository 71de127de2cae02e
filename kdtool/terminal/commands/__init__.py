"""What status, check, doctor, explain and verify print at their end."""
