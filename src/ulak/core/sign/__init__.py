"""How is what we send signed, and what we receive checked?"""
