"""What runs PostgreSQL and Valkey as children of this process when nobody gave us a server of their own."""
