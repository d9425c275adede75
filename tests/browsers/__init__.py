"""What makes these tests a package? That browser, node and event loop end with it, and do not outlive it."""
