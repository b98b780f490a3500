"""What each container engine must be told so that it uses this host's daemon."""
