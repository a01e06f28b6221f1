"""All SQL of the gateway: the user's database and the directory of users, with their migrations."""
