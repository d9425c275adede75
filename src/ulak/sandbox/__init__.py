"""What stands in for the vendors, strictly and on loopback, and remembers all that it was sent?"""
