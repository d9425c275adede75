"""What does a rendered message look like, channel by channel?"""
