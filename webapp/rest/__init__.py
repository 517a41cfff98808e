"""What every route of the REST API has in common: names, errors, safe text, answers given once."""
