"""What `ListExperiments` answers: pages, parameter specifications, availability."""
