"""The records that single commands return as JSON: status, check, doctor, verify."""
