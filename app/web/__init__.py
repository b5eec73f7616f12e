"""Pages for people, served by the service itself: nothing is loaded from another host."""
