"""What stands in for Apple, Google and the browsers' makers: strict push services, and devices that show what came?"""
